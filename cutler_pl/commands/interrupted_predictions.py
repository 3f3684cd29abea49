"""Predictions that an interrupted run of the same settings left in its parts: kept, instead of being made anew."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from cutler_pl.commands.augmentation import augmentation_settings
from cutler_pl.commands.result_cache import file_state, read_record
from cutler_pl.data import EvalDataModule, PredictDataModule
from cutler_pl.data.image_datamodule import ImageFiles
from cutler_pl.models import Detector
from cutler_pl.models.checkpoint import detector_config
from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.files import is_file, write_json
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.version import VERSION
from cutler_pl.training.callbacks.coco_results import parts_folder, recorded_images

log = get_logger(__name__)


def keep_interrupted(
    cfg: DictConfig,
    model: Detector,
    datamodule: EvalDataModule | PredictDataModule,
    results: Path,
    *,
    category_ids: Sequence[int],
) -> None:
    """Leave out the images that an interrupted run of the same settings has done; parts of other settings go.

    Every rank calls it, before `write_predictions`.
    """
    settings = json.loads(json.dumps(_settings(cfg, model, datamodule.image_files(), category_ids)))
    record = parts_folder(results) / "settings.json"
    same = read_record(record) == settings
    if not same and global_rank() == 0:
        shutil.rmtree(record.parent, ignore_errors=True)
        write_json(record, settings)
    if same:
        datamodule.done_ids = recorded_images(results)
    if len(datamodule.done_ids):
        log.info("%s: an interrupted run has done %d images, which are kept", results, len(datamodule.done_ids))


def _settings(cfg: DictConfig, model: Detector, files: ImageFiles, category_ids: Sequence[int]) -> dict[str, Any]:
    """What predictions and their figures depend on."""
    images = hashlib.sha256(np.asarray(files.image_ids, dtype=np.int64).tobytes())
    for name in (str(files.root), *files.file_names):
        images.update(os.fsencode(name) + b"\0")
    checkpoint = str(cfg.checkpoint)
    return {
        "version": VERSION,
        "checkpoint": file_state(checkpoint) if is_file(checkpoint) else checkpoint,
        "model": detector_config(model, category_ids=category_ids),
        "images": images.hexdigest(),
        "tiles": [cfg.tile, cfg.overlap],
        "tta": augmentation_settings(cfg),
        "precision": cfg.trainer.precision,
        "backend": cfg.backend,
        "overlays": [cfg.get("overlays"), cfg.get("overlay_score")],
    }
