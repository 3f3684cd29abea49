"""Plan of an evaluation: one task per dataset found, one reason per dataset missing."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from cutler_pl.datasets import catalog
from cutler_pl.errors import CheckpointError, ConfigError, CutlerError, DatasetNotFoundError
from cutler_pl.evaluation import EvalParams
from cutler_pl.runtime.files import file_digest
from cutler_pl.runtime.logging import get_logger
from cutler_pl.weights.sources import detector_digest, locate_detector

log = get_logger(__name__)

_NAME = re.compile(r"\w[\w ./+()-]{0,99}")


@dataclass(frozen=True)
class Task:
    """One dataset to measure.

    Attributes:
        name: Name in the tables.
        annotations: Ground truth.
        images: Image folder; None for given predictions without images.
        predictions: COCO results, given or to be made.
        folder: Folder of its results.
        params: Options of the comparison.
        ap_max_dets: Detections per image that count for AP; None for the last of `params.max_dets`.
        max_detections: Detections per image of the detector; None for its own number.
    """

    name: str
    annotations: Path
    images: Path | None
    predictions: Path
    folder: Path
    params: EvalParams
    ap_max_dets: int | None = None
    max_detections: int | None = None


@dataclass(frozen=True)
class Plan:
    """Datasets to measure and the folder of the reports.

    Attributes:
        output: Folder of the evaluation.
        digest: Digest of the checkpoint or predictions; None for a released name or a folder.
        tasks: Datasets to measure.
        missing: Reason and way out by dataset that cannot be measured.
    """

    output: Path
    digest: str | None
    tasks: list[Task]
    missing: Mapping[str, str] = field(default_factory=dict)


class FailedDatasets(dict[str, str]):
    """Reason by failed dataset; only the failure of a single dataset ends the run."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        super().__init__()
        self._only = len(list(tasks)) == 1

    @contextmanager
    def caught(self, task: Task) -> Iterator[None]:
        """Record an error of this dataset; raise it for the only dataset or an unreadable checkpoint."""
        try:
            yield
        except CutlerError as error:
            if self._only or isinstance(error, CheckpointError):
                raise
            log.error("%s: %s", task.name, error)
            self[task.name] = str(error)


def make_plan(cfg: DictConfig) -> Plan:
    """Check the settings of `conf/evaluate.yaml` and find their files.

    Raises:
        ConfigError: Settings contradict one another, or a dataset is not in the catalogue.
        DatasetNotFoundError: A given file or folder is missing, or all datasets are.
    """
    _check(cfg)
    source = str(cfg.predictions or cfg.checkpoint)
    digest = _digest(Path(source), of_predictions=bool(cfg.predictions))
    output = Path(cfg.output) if cfg.output else _default_output(cfg, source, digest)
    if cfg.annotations:
        return Plan(output, digest, [_given(cfg, output)])
    tasks, missing = [], {}
    for name in _datasets(cfg):
        absent = catalog.missing(name, cfg.paths.datasets, with_images=not cfg.predictions)
        predictions = _predictions_of(cfg, name)
        if absent:
            missing[name] = f"no {' and no '.join(absent)}: {catalog.download_hint(name)}"
        elif cfg.predictions and predictions is None:
            missing[name] = f"no predictions {name}.json or {name}/predictions.json in {cfg.predictions}"
        else:
            tasks.append(_from_catalog(cfg, name, output, predictions))
    if not tasks:
        first, reason = next(iter(missing.items()))
        others = f"; likewise {', '.join(list(missing)[1:])}" if len(missing) > 1 else ""
        raise DatasetNotFoundError(
            f"none of the {len(missing)} datasets can be measured below paths.datasets={cfg.paths.datasets} "
            f"({first}: {reason}{others}); for data of your own give annotations=<json>"
        )
    return Plan(output, digest, tasks, missing)


def _digest(source: Path, *, of_predictions: bool) -> str | None:
    """SHA-256 of a file, or of what a folder says of its weights; None for a name or a folder of predictions."""
    if source.is_dir() and not of_predictions:
        return detector_digest(locate_detector(source))
    return file_digest(source) if source.is_file() else None


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
    if cfg.dataset is not None and not _NAME.fullmatch(str(cfg.dataset)):
        raise ConfigError(
            f"dataset={cfg.dataset} names a folder of the output: begin with a letter or digit, and use "
            "at most 100 letters, digits, spaces and . _ - + / ( )"
        )
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
    """Unique names of `eval.datasets`, a list or a single name."""
    given = cfg.eval.datasets or []
    return [given] if isinstance(given, str) else list(dict.fromkeys(map(str, given)))


def _given(cfg: DictConfig, output: Path) -> Task:
    name = str(cfg.dataset or Path(cfg.annotations).stem)
    folder = output / name.replace("/", "_")
    return Task(
        name=name,
        annotations=Path(cfg.annotations),
        images=Path(cfg.images) if cfg.images else None,
        predictions=Path(cfg.predictions) if cfg.predictions else folder / "predictions.json",
        folder=folder,
        params=EvalParams(tuple(cfg.eval.iou_types), cfg.eval.class_agnostic, tuple(cfg.eval.max_dets)),
        ap_max_dets=cfg.eval.ap_max_dets,
    )


def _from_catalog(cfg: DictConfig, name: str, output: Path, predictions: Path | None) -> Task:
    """Task of the recipe: boxes only for a dataset without masks, more detections for LVIS."""
    info = catalog.CATALOG[name]
    paths = catalog.resolve(name, cfg.paths.datasets, with_images=not cfg.predictions)
    iou_types = tuple(kind for kind in cfg.eval.iou_types if info.masks or kind != "segm")
    if not iou_types:
        raise ConfigError(f"dataset {name!r} has no masks, and eval.iou_types={list(cfg.eval.iou_types)} asks for them")
    max_dets, ap_max_dets = tuple(cfg.eval.max_dets), cfg.eval.ap_max_dets
    more = info.max_dets > max_dets[-1]
    class_agnostic = cfg.eval.class_agnostic or info.class_agnostic
    return Task(
        name=name,
        annotations=paths.annotations,
        images=paths.images if paths.images.is_dir() else None,
        predictions=predictions or output / name / "predictions.json",
        folder=output / name,
        params=EvalParams(iou_types, class_agnostic, (*max_dets, info.max_dets) if more else max_dets),
        ap_max_dets=max_dets[-1] if more and ap_max_dets is None else ap_max_dets,
        max_detections=info.max_dets if more else None,
    )


def _predictions_of(cfg: DictConfig, name: str) -> Path | None:
    """The given file, or the dataset's file in the given folder."""
    if not cfg.predictions:
        return None
    given = Path(cfg.predictions)
    places = [given] if given.is_file() else [given / f"{name}.json", given / name / "predictions.json"]
    return next((place for place in places if place.is_file()), None)


def _default_output(cfg: DictConfig, source: str, digest: str | None) -> Path:
    """A folder that depends on the checkpoint."""
    name = Path(source).stem if digest is None else f"{Path(source).stem}_{digest[:8]}"
    return Path(cfg.paths.root_dir) / "outputs" / "evaluate" / name
