"""The predictions an evaluation needs: one dataset after the other, by all ranks, each kept when it is finished."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands.evaluate.plan import Task
from cutler_pl.commands.predict import LoadedDetector, annotated_images, load_for_prediction, write_predictions
from cutler_pl.commands.result_cache import file_state, finished_with, write_finished
from cutler_pl.data import EvalDataModule
from cutler_pl.errors import CheckpointError, ConfigError, CutlerError
from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.version import VERSION

log = get_logger(__name__)

PREDICTIONS = "predictions.json"
FINISHED = "finished.json"


def predict_all(
    cfg: DictConfig, tasks: Sequence[Task], folders: Mapping[str, Path], *, digest: str | None
) -> tuple[dict[str, Path], dict[str, str]]:
    """Predict on every dataset that has no predictions of this checkpoint yet.

    Args:
        cfg: The settings of `conf/predict.yaml`.
        tasks: Datasets.
        folders: Folder of each dataset, which gets `predictions.json`, `failures.jsonl` and `finished.json`.
        digest: What tells this checkpoint from others; None for a released name.

    Returns:
        The results file of each dataset, and the reason for each dataset without one.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        CutlerError: The only dataset cannot be predicted on.
    """
    settings = {task.name: _settings(cfg, task, digest) for task in tasks}
    # Looked up before the first prediction: every rank finds the same ones unfinished.
    open_tasks = [task for task in tasks if not _is_finished(folders[task.name], settings[task.name])]
    done = {task.name: folders[task.name] / PREDICTIONS for task in tasks if task not in open_tasks}
    for name in done:
        log.info("%s: predicted before, kept", name)
    failed: dict[str, str] = {}
    datamodules: dict[str, EvalDataModule] = {}
    for task in open_tasks:
        try:
            datamodules[task.name] = annotated_images(cfg, str(task.images), task.annotations)
        except CutlerError as error:
            if len(tasks) == 1:
                raise
            log.error("%s: %s", task.name, error)
            failed[task.name] = str(error)
    detectors: dict[int | None, LoadedDetector] = {}  # the last one only
    for number, task in enumerate(t for t in open_tasks if t.name in datamodules):
        log.info("predicting on %s, %d of %d", task.name, number + 1, len(datamodules))
        folder = folders[task.name]
        try:
            if task.max_detections not in detectors:
                detectors = {task.max_detections: load_for_prediction(cfg, max_detections=task.max_detections)}
            detector = with_categories_of(detectors[task.max_detections], datamodules[task.name], task)
            if global_rank() == 0:
                (folder / FINISHED).unlink(missing_ok=True)
            write_predictions(cfg, detector, datamodules[task.name], folder / PREDICTIONS)
        except CutlerError as error:
            if len(tasks) == 1 or isinstance(error, CheckpointError):
                raise
            log.error("%s: %s", task.name, error)
            failed[task.name] = str(error)
            continue
        if global_rank() == 0:
            write_finished(folder / FINISHED, settings[task.name])
        done[task.name] = folder / PREDICTIONS
    return done, failed


def with_categories_of(detector: LoadedDetector, datamodule: EvalDataModule, task: Task) -> LoadedDetector:
    """The detector with the category ids of the annotations, where its classes are compared with theirs.

    Classes are matched by name. A checkpoint that knows no names (a released file) has the categories in the order of
    their ids, as the original numbers them.

    Raises:
        ConfigError: The detector has other classes than the annotations.
    """
    if task.class_agnostic:
        return detector
    categories = datamodule.index.categories
    ids = {name: id_ for id_, name in categories.items()}
    names = list(detector.class_names)
    if names == [str(id_) for id_ in detector.category_ids] and len(names) == len(categories):
        return LoadedDetector(detector.model, list(categories), list(categories.values()))
    unknown = [name for name in names if name not in ids]
    if unknown or len(ids) < len(categories):
        shown = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise ConfigError(
            f"{task.annotations}: the checkpoint's {len(names)} classes are not those of the annotations "
            f"({len(categories)}): {shown or 'names are not unique'}; measure without classes by eval=agnostic"
        )
    return LoadedDetector(detector.model, [ids[name] for name in names], names)


def _is_finished(folder: Path, settings: Mapping[str, Any]) -> bool:
    return (folder / PREDICTIONS).is_file() and finished_with(folder / FINISHED, settings) is not None


def _settings(cfg: DictConfig, task: Task, digest: str | None) -> dict[str, Any]:
    """What the predictions depend on."""
    model = None if str(cfg.checkpoint).endswith(".ckpt") else cfg.get("model")
    return {
        "version": VERSION,
        "checkpoint": digest or str(cfg.checkpoint),
        "model": None if model is None else OmegaConf.to_container(model, resolve=True),
        "num_classes": None if model is None else cfg.num_classes,
        "annotations": file_state(task.annotations),
        "images": str(task.images),
        "class_agnostic": task.class_agnostic,
        "max_detections": cfg.max_detections if cfg.max_detections is not None else task.max_detections,
        "score_threshold": cfg.score_threshold,
        "precision": cfg.trainer.precision,
    }
