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
from cutler_pl.errors import CheckpointError, ConfigError
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor
from cutler_pl.maskcut.predictor import MaskCutPredictor
from cutler_pl.pseudo_masks.quality.agreement import SecondRun
from cutler_pl.pseudo_masks.quality.options import QualityOptions
from cutler_pl.pseudo_masks.quality.report import QUALITY_NAME, SecondSetting, assess, write_quality
from cutler_pl.pseudo_masks.quality.verdict import RunSettings, other_tau
from cutler_pl.reports.quality import write_quality_page
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

TAU = "tau"
_FEATURES = ("name", "weights", "layer", "feature", "pos_embed")


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
    _check_free(output, overwrite=cfg.overwrite)
    with file_lock(output, purpose="quality"):
        recorded = read_parameters(Path(cfg.annotations).parent / "shards") or {}
        report = assess(
            Path(cfg.annotations),
            Path(cfg.images),
            output,
            options=options,
            thresholds=instantiate(cfg.thresholds),
            second=_second(cfg.agreement, recorded),
            settings=_settings(recorded),
        )
        record_run(output, cfg)
        command = shlex.join(
            ["cutler", "quality", *(f"{key}={cfg[key]}" for key in ("annotations", "images", "output"))]
        )
        write_quality_page(output, Path(cfg.images), report, command=command)
        write_quality(output, report)
    log.info("%s: %s", report.verdict.verdict, report.verdict.sentence)
    for text in report.verdict.advice:
        log.info("advice: %s", text)
    log.info("open %s", output / "index.html")
    return output / QUALITY_NAME


def _check_free(output: Path, *, overwrite: bool) -> None:
    """Raise if the folder holds files of another command."""
    if overwrite or (output / QUALITY_NAME).is_file() or not output.is_dir():
        return
    if other := next((path for path in sorted(output.iterdir()) if not path.name.startswith(".")), None):
        raise ConfigError(
            f"{output}: holds {other.name}, which is not of a quality report; choose another output, or overwrite=true"
        )


def _settings(recorded: dict[str, Any]) -> RunSettings:
    cut, features = recorded.get("cut", {}), recorded.get("features", {})
    return RunSettings(
        num_masks=cut.get("num_masks"),
        tau=cut.get("tau"),
        features=features.get("name"),
        tile=recorded.get("tiles", {}).get("tile"),
    )


def _second(agreement: str | None, recorded: dict[str, Any]) -> SecondSetting:
    """The second run that `agreement=` asks for."""
    if agreement is None:
        return SecondSetting(None, "agreement=null asks for none")
    if agreement != TAU:
        return SecondSetting(_find(read_maskcut_option(agreement)), f"maskcut={agreement}")
    if not recorded:
        return SecondSetting(None, "no record of a MaskCut run lies beside the annotations; give agreement=<features>")
    cut = dict(recorded["cut"])
    cut["tau"] = other_tau(cut["tau"])
    option = {**cut, "fixed_size": recorded["fixed_size"], "features": recorded["features"], "solver": "auto"}
    try:
        return SecondSetting(_find(option), f"maskcut.tau={cut['tau']:g}")
    except CheckpointError as error:
        return SecondSetting(None, str(error))


def _find(option: dict[str, Any]) -> SecondRun:
    device = choose_device("auto")
    features = {key: option["features"][key] for key in _FEATURES if key in option["features"]}
    extractor = build_feature_extractor(**features, device=device)
    known = {field.name for field in fields(MaskCutParams)}
    params = MaskCutParams(**{key: value for key, value in option.items() if key in known})
    predictor = MaskCutPredictor(extractor, params, solver=option["solver"])
    return SecondRun(predictor, option["fixed_size"], device)
