"""What an evaluation is to do: one task for each dataset that is there, one reason for each that is not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from cutler_pl.datasets import catalog
from cutler_pl.errors import ConfigError, DatasetNotFoundError
from cutler_pl.evaluation import IouType


@dataclass(frozen=True)
class Task:
    """One dataset to measure.

    Attributes:
        name: Name in the tables and of the folder of its results.
        annotations: Ground truth.
        images: Image folder; None where predictions are given and there are no images to show.
        predictions: COCO results that exist; None where the checkpoint makes them.
        iou_types: "bbox", "segm" or both.
        class_agnostic: Take all categories for one.
        max_dets: Best detections of an image that count, rising.
        ap_max_dets: Those that count for AP; None for the last of `max_dets`.
        max_detections: Detections an image to ask of the detector; None for as many as it was built for.
    """

    name: str
    annotations: Path
    images: Path | None
    predictions: Path | None
    iou_types: tuple[IouType, ...]
    class_agnostic: bool
    max_dets: tuple[int, ...]
    ap_max_dets: int | None = None
    max_detections: int | None = None


@dataclass(frozen=True)
class Plan:
    """The tasks, and the datasets that cannot be measured with the reason and the way out."""

    tasks: list[Task]
    missing: Mapping[str, str] = field(default_factory=dict)


def make_plan(cfg: DictConfig) -> Plan:
    """Read the settings of `conf/evaluate.yaml` and look for what they name; nothing is read or predicted yet.

    Raises:
        ConfigError: Settings do not go together, or a dataset is not in the catalogue.
        DatasetNotFoundError: A file or folder given is missing, or none of the datasets is there.
    """
    _check(cfg)
    if cfg.annotations:
        return Plan([_given(cfg)])
    tasks, missing = [], {}
    for name in _datasets(cfg):
        absent = catalog.missing(name, cfg.paths.datasets, with_images=not cfg.predictions)
        predictions = _predictions_of(cfg, name)
        if absent:
            missing[name] = f"no {' and no '.join(absent)}: {catalog.download_hint(name)}"
        elif cfg.predictions and predictions is None:
            missing[name] = f"no predictions {name}.json or {name}/predictions.json in {cfg.predictions}"
        else:
            tasks.append(_from_catalog(cfg, name, predictions))
    if not tasks:
        first, reason = next(iter(missing.items()))
        others = f"; likewise {', '.join(list(missing)[1:])}" if len(missing) > 1 else ""
        raise DatasetNotFoundError(
            f"none of the {len(missing)} datasets can be measured below paths.datasets={cfg.paths.datasets} "
            f"({first}: {reason}{others}); for data of your own give annotations=<json>"
        )
    return Plan(tasks, missing)


def _check(cfg: DictConfig) -> None:
    if bool(cfg.predictions) == bool(cfg.checkpoint):
        found = "both" if cfg.predictions else "neither"
        raise ConfigError(f"give either predictions=<json> or checkpoint=<file> with images=<folder>; found {found}")
    datasets = _datasets(cfg)
    if not cfg.annotations and not datasets:
        raise ConfigError(
            "give annotations=<json> of your own data, or datasets of the catalogue by eval=zero_shot_11 or "
            "'eval.datasets=[coco,voc]'"
        )
    if cfg.annotations and len(datasets) > 1:
        raise ConfigError(f"annotations= measures one file, but eval.datasets names {len(datasets)}; leave one out")
    if cfg.checkpoint and cfg.annotations and not cfg.images:
        raise ConfigError("checkpoint= needs images=<folder>, the images to predict on")
    if cfg.eval.ap_max_dets is not None and cfg.eval.ap_max_dets not in cfg.eval.max_dets:
        raise ConfigError(f"eval.ap_max_dets={cfg.eval.ap_max_dets} must be one of eval.max_dets={cfg.eval.max_dets}")
    if cfg.on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error={cfg.on_error} must be raise or skip")
    if cfg.gallery < 0:
        raise ConfigError(f"gallery={cfg.gallery} must not be negative; 0 draws no pictures")
    for key in ("annotations", "predictions"):
        if cfg[key] and not (Path(cfg[key]).is_file() or (key == "predictions" and Path(cfg[key]).is_dir())):
            raise DatasetNotFoundError(f"no such file: {cfg[key]} ({key}=)")
    if cfg.images and not Path(cfg.images).is_dir():
        raise DatasetNotFoundError(f"no such folder: {cfg.images} (images=)")
    if cfg.predictions and Path(cfg.predictions).is_dir() and cfg.annotations:
        raise ConfigError(f"predictions={cfg.predictions} is a folder; with annotations= give one file")
    if cfg.predictions and Path(cfg.predictions).is_file() and not cfg.annotations and len(datasets) > 1:
        raise ConfigError(
            f"predictions={cfg.predictions} is one file, but there are {len(datasets)} datasets; give a folder with "
            "<dataset>.json for each, or one dataset by 'eval.datasets=[<name>]'"
        )


def _datasets(cfg: DictConfig) -> list[str]:
    """Names of `eval.datasets`, each once; a single name may stand without brackets."""
    given = cfg.eval.datasets or []
    return [given] if isinstance(given, str) else list(dict.fromkeys(map(str, given)))


def _given(cfg: DictConfig) -> Task:
    name = cfg.dataset or Path(cfg.annotations).stem
    return Task(
        name=str(name),
        annotations=Path(cfg.annotations),
        images=Path(cfg.images) if cfg.images else None,
        predictions=Path(cfg.predictions) if cfg.predictions else None,
        iou_types=tuple(cfg.eval.iou_types),
        class_agnostic=cfg.eval.class_agnostic,
        max_dets=tuple(cfg.eval.max_dets),
        ap_max_dets=cfg.eval.ap_max_dets,
    )


def _from_catalog(cfg: DictConfig, name: str, predictions: Path | None) -> Task:
    """What the recipe measures on a dataset: boxes alone where it has no masks, more detections for LVIS."""
    info = catalog.CATALOG[name]
    paths = catalog.resolve(name, cfg.paths.datasets, with_images=not cfg.predictions)
    iou_types = tuple(kind for kind in cfg.eval.iou_types if info.masks or kind != "segm")
    if not iou_types:
        raise ConfigError(f"dataset {name!r} has no masks, and eval.iou_types={list(cfg.eval.iou_types)} asks for them")
    max_dets, ap_max_dets = tuple(cfg.eval.max_dets), cfg.eval.ap_max_dets
    more = info.max_dets > max_dets[-1]
    return Task(
        name=name,
        annotations=paths.annotations,
        images=paths.images if paths.images.is_dir() else None,
        predictions=predictions,
        iou_types=iou_types,
        class_agnostic=cfg.eval.class_agnostic or info.class_agnostic,
        max_dets=(*max_dets, info.max_dets) if more else max_dets,
        ap_max_dets=max_dets[-1] if more and ap_max_dets is None else ap_max_dets,
        max_detections=info.max_dets if more else None,
    )


def _predictions_of(cfg: DictConfig, name: str) -> Path | None:
    """The predictions for a dataset: the file given, or its file in the folder given."""
    if not cfg.predictions:
        return None
    given = Path(cfg.predictions)
    places = [given] if given.is_file() else [given / f"{name}.json", given / name / "predictions.json"]
    return next((place for place in places if place.is_file()), None)
