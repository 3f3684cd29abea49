"""The predictions of an evaluation, one dataset after another, by all ranks; finished ones are reused."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands.augmentation import augmentation_settings
from cutler_pl.commands.evaluate.plan import FailedDatasets, Plan, Task
from cutler_pl.commands.interrupted_predictions import keep_interrupted
from cutler_pl.commands.predict import annotated_images, inference_options, load_for_prediction, write_predictions
from cutler_pl.commands.result_cache import file_state, read_cached, write_cached
from cutler_pl.data import EvalDataModule
from cutler_pl.errors import ConfigError
from cutler_pl.models import Detector, DetectorMetadata
from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.files import is_file
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.version import VERSION
from cutler_pl.weights.sources import weights_version

log = get_logger(__name__)

FINISHED = "finished.json"


def predict_all(cfg: DictConfig, plan: Plan, failed: FailedDatasets) -> None:
    """Predict on every dataset without predictions of this checkpoint.

    Args:
        plan: Datasets; each folder gets `predictions.json`, `failures.jsonl` and `finished.json`.
        failed: Gets the reason for each dataset without predictions.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        CutlerError: The only dataset cannot be predicted on.
    """
    checkpoint = plan.digest or weights_version(str(cfg.checkpoint))
    settings = {task.name: _settings(cfg, task, checkpoint) for task in plan.tasks}
    datamodules: dict[str, EvalDataModule] = {}
    # Looked up before the first prediction: every rank finds the same ones unfinished.
    for task in plan.tasks:
        if _is_finished(task, settings[task.name]):
            log.info("%s: predicted before, kept", task.name)
            continue
        with failed.caught(task):
            datamodules[task.name] = annotated_images(cfg, str(task.images), task.annotations)
    detectors: dict[int | None, tuple[Detector, DetectorMetadata]] = {}  # the last one only
    for number, task in enumerate((task for task in plan.tasks if task.name in datamodules), 1):
        log.info("predicting on %s, %d of %d", task.name, number, len(datamodules))
        with failed.caught(task):
            if task.max_detections not in detectors:
                detectors = {task.max_detections: load_for_prediction(cfg, max_detections=task.max_detections)}
            model, metadata = detectors[task.max_detections]
            category_ids = matched_category_ids(metadata, datamodules[task.name], task)
            datamodule = datamodules[task.name]
            keep_interrupted(cfg, model, datamodule, task.predictions, category_ids=category_ids)
            write_predictions(cfg, model, datamodule, task.predictions, category_ids=category_ids)
            if global_rank() == 0:
                predictions = file_state(task.predictions)
                write_cached(task.folder / FINISHED, settings[task.name], predictions=predictions)


def _is_finished(task: Task, settings: Mapping[str, Any]) -> bool:
    """Whether there are predictions of these settings, and not others that came after them."""
    finished = read_cached(task.folder / FINISHED, settings)
    if finished is None or not is_file(task.predictions):
        return False
    return bool(finished.get("predictions") == file_state(task.predictions))


def matched_category_ids(metadata: DetectorMetadata, datamodule: EvalDataModule, task: Task) -> Sequence[int]:
    """Category id of label 1, 2, …, matched with the annotations by name unless class-agnostic.

    A checkpoint without names (a released file) has the categories in the order of their ids, like the original.

    Raises:
        ConfigError: The detector has other classes than the annotations.
    """
    if task.params.class_agnostic:
        return metadata.category_ids
    categories = datamodule.index.categories
    ids = {name: id_ for id_, name in categories.items()}
    names = metadata.class_names
    unknown = [name for name in names if name not in ids]
    if unknown and metadata.assumed and len(names) == len(categories):
        return list(categories)
    if unknown or len(ids) < len(categories):
        shown = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        raise ConfigError(
            f"{task.annotations}: the checkpoint's {len(names)} classes are not those of the annotations "
            f"({len(categories)}): {shown or 'names are not unique'}; measure without classes by eval=agnostic"
        )
    return [ids[name] for name in names]


def _settings(cfg: DictConfig, task: Task, checkpoint: str) -> dict[str, Any]:
    """Everything the predictions depend on."""
    model = cfg.get("model")
    return {
        "version": VERSION,
        "checkpoint": checkpoint,
        "model": None if model is None else OmegaConf.to_container(model, resolve=True),
        "annotations": file_state(task.annotations),
        "images": str(task.images),
        "class_agnostic": task.params.class_agnostic,
        "options": {"max_detections": task.max_detections} | inference_options(cfg),
        "tiles": [cfg.tile, cfg.overlap],
        "tta": augmentation_settings(cfg),
        "precision": cfg.trainer.precision,
        "backend": cfg.backend,
    }
