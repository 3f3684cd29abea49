"""Whether MaskCut works on one's images: figures of its masks, a verdict and a page, without ground truth."""

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from cutler_pl.api.device import choose_device
from cutler_pl.api.options import read_maskcut_option
from cutler_pl.coco.parameters import read_parameters
from cutler_pl.commands.run_metadata import record_run
from cutler_pl.commands.settings import require
from cutler_pl.errors import CheckpointError
from cutler_pl.maskcut import MaskCutParams
from cutler_pl.pseudo_masks.quality.agreement import build_second_run
from cutler_pl.pseudo_masks.quality.options import QualityOptions
from cutler_pl.pseudo_masks.quality.report import QUALITY_NAME, SecondSetting, assess, write_quality
from cutler_pl.pseudo_masks.quality.verdict import RunSettings, other_tau
from cutler_pl.reports.quality import write_quality_page
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.output_folder import refuse_foreign_folder

log = get_logger(__name__)

TAU = "tau"


def run(cfg: DictConfig) -> Path:
    """Report as `conf/quality.yaml` describes; returns `quality.json`.

    Raises:
        AnnotationError: The annotations break the format, are empty or of other images.
        ImageReadError: No image can be read.
        ConfigError: A setting cannot work, or the output is of another run.
        CheckpointError: The weights of the backbone that `agreement=` names cannot be had.
        OutputLockedError: Another run writes into the output folder.
    """
    require(cfg, "annotations", "images", "output")
    output = Path(cfg.output)
    options = QualityOptions(**{field.name: cfg[field.name] for field in fields(QualityOptions)})
    refuse_foreign_folder(output, QUALITY_NAME, "a quality report", overwrite=cfg.overwrite)
    with file_lock(output, purpose="quality"):
        recorded = _recorded(Path(cfg.annotations))
        report = assess(
            Path(cfg.annotations),
            Path(cfg.images),
            output,
            options=options,
            thresholds=instantiate(cfg.thresholds),
            second=second_setting(cfg.agreement, recorded, weights=cfg.agreement_weights),
            settings=_settings(recorded),
        )
        write_quality(output, report)  # first: the next run knows the folder by it
        record_run(output, cfg)
        command = shlex.join(
            ["cutler", "quality", *(f"{key}={cfg[key]}" for key in ("annotations", "images", "output"))]
        )
        write_quality_page(output, Path(cfg.images), report, command=command)
    log.info("%s: %s", report.verdict.verdict, report.verdict.sentence)
    for text in report.verdict.advice:
        log.info("advice: %s", text)
    log.info("open %s", output / "index.html")
    return output / QUALITY_NAME


def _recorded(annotations: Path) -> dict[str, Any]:
    """What the MaskCut run was made with, of which `annotations` is the output; empty where there is no record."""
    recorded = read_parameters(annotations.parent / "shards") or {}
    groups = (recorded.get(name, {}) for name in ("cut", "crf", "features", "tiles", "annotation"))
    return recorded if "fixed_size" in recorded and all(isinstance(group, dict) for group in groups) else {}


def _settings(recorded: dict[str, Any]) -> RunSettings:
    cut, features, annotation = (recorded.get(name, {}) for name in ("cut", "features", "annotation"))
    return RunSettings(
        num_masks=cut.get("num_masks"),
        tau=cut.get("tau"),
        features=features.get("name"),
        generator=recorded.get("generator"),
        tile=recorded.get("tiles", {}).get("tile"),
        split=annotation.get("split"),
        split_parts=annotation.get("split_parts", False),
    )


def second_setting(agreement: str | None, recorded: dict[str, Any], *, weights: str | None) -> SecondSetting:
    """The second run that `agreement=` asks for.

    Args:
        agreement: None, `tau`, or an option of `conf/maskcut/`.
        recorded: What the first run was made with, empty if not known.
        weights: Of the option's features; None for the published ones.

    Raises:
        ConfigError: There is no such option, or the record cannot be.
        CheckpointError: The weights of the option's features cannot be had.
    """
    if agreement is None:
        return SecondSetting(None, "agreement=null asks for none")
    device = choose_device("auto")
    if agreement != TAU:
        option = read_maskcut_option(agreement)
        option["features"]["weights"] = weights
        try:
            return SecondSetting(build_second_run(option, device), f"maskcut={agreement}")
        except CheckpointError as error:
            way_out = "the setting of quality is agreement_weights=<file>; agreement=null does without a second run"
            raise type(error)(f"agreement={agreement}: {error}; {way_out}") from error
    if not recorded:
        return SecondSetting(None, "no record of a MaskCut run lies beside the annotations; give agreement=<features>")
    if "generator" in recorded:
        return SecondSetting(None, f"the masks are of generator={recorded['generator']}; give agreement=<features>")
    tau = other_tau(MaskCutParams(**recorded["cut"]).tau)
    option = {**recorded["cut"], "tau": tau, **{key: recorded[key] for key in ("fixed_size", "features", "crf")}}
    try:
        return SecondSetting(build_second_run(option, device), f"maskcut.tau={tau:g}")
    except CheckpointError as error:
        return SecondSetting(None, str(error))
