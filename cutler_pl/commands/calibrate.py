"""τ of a generator for one's images, an option file of it, and a map of scores."""

import shlex
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import date
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cutler_pl.api.device import choose_device
from cutler_pl.coco.parameters import read_record
from cutler_pl.coco.parts import ShardRecord
from cutler_pl.commands.chosen_features import require_features
from cutler_pl.commands.console import print_table
from cutler_pl.commands.maskcut import build_generator, build_predictor
from cutler_pl.commands.option_file import check_name, write_option
from cutler_pl.commands.overrides import format_overrides
from cutler_pl.commands.run_metadata import record_run
from cutler_pl.commands.settings import require
from cutler_pl.commands.shared_extractors import SharedExtractors
from cutler_pl.errors import ConfigError, InputError
from cutler_pl.generators.papers import tau_option
from cutler_pl.images import list_images
from cutler_pl.pseudo_masks.calibration import scores
from cutler_pl.pseudo_masks.calibration.choice import choose
from cutler_pl.pseudo_masks.calibration.criteria import ApCriterion, QualityCriterion, found_again, jackknife
from cutler_pl.pseudo_masks.calibration.options import MIN_IMAGES, CalibrationOptions
from cutler_pl.pseudo_masks.calibration.truth import check_sizes, read_truth
from cutler_pl.pseudo_masks.calibration.values import Search
from cutler_pl.pseudo_masks.quality.masks import evenly_spaced
from cutler_pl.pseudo_masks.quality.verdict import RunSettings
from cutler_pl.pseudo_masks.variants import Variant, find_variants
from cutler_pl.reports.calibration import CALIBRATION_NAME, CalibrationReport, write_calibration
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.output_folder import refuse_foreign_folder

log = get_logger(__name__)

Records = dict[float, list[ShardRecord]]


def run(cfg: DictConfig) -> Path:
    """Calibrate as `conf/calibrate.yaml` describes; returns the option file.

    Raises:
        ConfigError: No features are chosen, a setting cannot work, or the output is of another run.
        DatasetNotFoundError: There are no images.
        AnnotationError: The annotations are invalid, or of other images.
        InputError: There are too few images, or no mask at any value.
        CheckpointError: The weights of a backbone cannot be loaded.
        OutputLockedError: Another run writes into the output folder.
    """
    require(cfg, "images", "output")
    require_features(cfg)
    check_name(cfg.name)
    output = Path(cfg.output)
    options = CalibrationOptions(**{field.name: cfg[field.name] for field in fields(CalibrationOptions)})
    search = _search(cfg, options)
    refuse_foreign_folder(output, CALIBRATION_NAME, "a calibration", overwrite=cfg.overwrite)
    _refuse_other_generator(cfg, output)
    root, names = list_images(cfg.images)
    truth = None if cfg.annotations is None else read_truth(cfg.annotations, cfg.images, names)
    known = names if truth is None else sorted(image["file_name"] for image in truth["images"])
    shown = [known[i] for i in evenly_spaced(len(known), options.max_images)]
    if len(shown) < MIN_IMAGES:
        raise InputError(
            f"{cfg.images}: {len(shown)} images to look at, and {MIN_IMAGES} are needed, since fewer do not show how "
            "much a criterion varies"
        )
    if truth is not None:
        check_sizes(root, truth, shown, source=cfg.annotations)
    with file_lock(output, purpose="calibrate"):
        records = _find(cfg, search, root, shown, near=truth is None)
        if not any(record["annotations"] for value in search.values for record in records[value]):
            raise InputError(
                f"{cfg.images}: no mask at any of the {len(search.values)} values of {search.setting}; try another "
                "generator=, other features, or values="
            )
        report = _report(cfg, search, records, truth, options)
        chosen = _at(cfg, search, report.choice.value)
        if report.fitted is not None and report.fitted.is_better:
            OmegaConf.update(chosen, "annotation.scores", True)
            OmegaConf.update(chosen, "annotation.score_map", [list(pair) for pair in report.fitted.points])
        choices = HydraConfig.get().runtime.choices
        summary = {
            "features": choices["maskcut"],
            "generator": choices["generator"],
            "images": len(records[search.present]),
        }
        write_calibration(output, report, summary=summary)
        record_run(output, cfg)
        comment = "\n".join([
            f"By cutler calibrate on {len(shown)} images, {date.today().isoformat()}:",
            *report.choice.sentences, *report.notes,
        ])  # fmt: skip
        files = write_option(output, cfg.name, chosen, command="calibrate", comment=comment)
    print_table(report.table())
    for sentence in (*report.choice.sentences, *report.notes):
        log.info(sentence)
    log.info("written: %s; next:\n  %s", ", ".join(map(str, files)), _next_command(cfg))
    return files[0]


def _refuse_other_generator(cfg: DictConfig, output: Path) -> None:
    """Raise if an output folder holds the option of another generator, which a new one would replace in part."""
    if cfg.overwrite or not (output / CALIBRATION_NAME).is_file():
        return
    way_out = "choose another output, or overwrite=true"
    before = read_record(output / CALIBRATION_NAME, dict, way_out=way_out).get("generator")
    if before not in (None, HydraConfig.get().runtime.choices["generator"]):
        raise ConfigError(f"{output}: holds the calibration of generator={before}; {way_out}")


def _search(cfg: DictConfig, options: CalibrationOptions) -> Search:
    """Which setting is searched, and its values."""
    generator = build_generator(cfg)
    name = tau_option(generator.constants())
    if name is None:
        raise ConfigError(f"generator={generator.name} has no τ; choose another generator")
    setting = f"maskcut.{name}" if generator.name == "maskcut" else f"generator.{name}"
    return Search(setting, generator.constants()[name], options.values)


def _at(cfg: DictConfig, search: Search, value: float) -> DictConfig:
    """The settings with one of the values."""
    config = cfg.copy()
    OmegaConf.update(config, search.setting, search.at(value))
    return config


def _find(cfg: DictConfig, search: Search, root: Path, names: Sequence[str], *, near: bool) -> Records:
    """The masks of each image at each value, and at a near one of each if wanted."""
    device = choose_device(cfg.device)
    extractors = SharedExtractors(device).of(cfg)
    annotation = replace(instantiate(cfg.annotation), score_map=None)
    values = sorted({*search.values, *(map(search.near, search.values) if near else ())})
    variants = {
        str(value): Variant(build_predictor(_at(cfg, search, value), extractors), cfg.maskcut.fixed_size, annotation)
        for value in values
    }
    failed: dict[str, str] = {}
    records: Records = {value: [] for value in values}
    for done, image in enumerate(
        find_variants(root, names, variants, device=device, on_failure=failed.__setitem__), start=1
    ):
        if failures := [one.record["failure"] for one in image.masks.values() if "failure" in one.record]:
            failed[image.name] = failures[0]
            continue
        for value in values:
            records[value].append(image.masks[str(value)].record)
        log.info("%d of %d images: %s", done, len(names), image.name)
    for name, reason in failed.items():
        log.warning("left out: %s: %s", name, reason)
    if len(records[search.present]) < MIN_IMAGES:
        raise InputError(f"{root}: {len(failed)} of {len(names)} images failed, and {MIN_IMAGES} are needed")
    return records


def _report(
    cfg: DictConfig, search: Search, records: Records, truth: dict[str, Any] | None, options: CalibrationOptions
) -> CalibrationReport:
    found = records[search.present]
    everything = range(len(found))
    verdicts: list[str] = []
    notes: list[str] = []
    fitted = None
    if truth is None:
        thresholds = instantiate(cfg.thresholds)
        settings = RunSettings(
            features=cfg.maskcut.features.name,
            generator=None if search.setting.startswith("maskcut.") else HydraConfig.get().runtime.choices["generator"],
        )
        doubts = [
            QualityCriterion(
                records[value],
                [found_again(*pair) for pair in zip(records[value], records[search.near(value)], strict=True)],
                thresholds,
                settings,
            )
            for value in search.values
        ]
        verdicts = [doubt.verdict(everything).verdict for doubt in doubts]
        measured = jackknife(doubts, len(found))
    else:
        of_name = {image["file_name"]: image for image in truth["images"]}
        truth = {**truth, "images": [of_name[record["file"]] for record in found]}
        measured = jackknife(
            [ApCriterion(records[value], truth, options.metric) for value in search.values], len(found)
        )
    choice = choose(search, measured)
    if truth is not None and options.score_map:
        fitted = _fit(records[choice.value], truth, notes)
    return CalibrationReport(
        search=search,
        records=[records[value] for value in search.values],
        criterion="doubt" if truth is None else f"mask {options.metric}",
        measured=measured,
        verdicts=verdicts,
        choice=choice,
        fitted=fitted,
        notes=notes,
    )


def _fit(found: Sequence[ShardRecord], truth: dict[str, Any], notes: list[str]) -> scores.FittedScores | None:
    """The map of scores, and what is said of it."""
    try:
        fitted = scores.fit_scores(found, truth)
    except InputError as error:  # τ is chosen all the same
        notes.append(str(error))
        return None
    before, after = (one.expected_error for one in (fitted.before, fitted.after))
    notes.append(
        f"scores: expected calibration error {before:.3f} as written, {after:.3f} by the map, on {fitted.masks[1]} "
        f"masks it was not fitted on; it is {'in the option' if fitted.is_better else 'left out'}"
    )
    return fitted


def _next_command(cfg: DictConfig) -> str:
    generator = HydraConfig.get().runtime.choices["generator"]
    settings = {
        "maskcut": cfg.name,
        **({} if generator == "maskcut" else {"generator": generator}),
        "input": cfg.images,
        "output": str(Path(cfg.output) / "masks"),
    }
    words = HydraConfig.get().overrides.task
    refinement = [word for word in words if word.startswith("crf.")]  # no part of an option of maskcut=
    return shlex.join(["cutler", "maskcut", f"--config-dir={cfg.output}", *format_overrides(settings), *refinement])
