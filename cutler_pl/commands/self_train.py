"""Make the annotations of the next self-training round (section 3.4 of the paper): predict, select, merge."""

import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cutler_pl.coco.index import InstanceIndex
from cutler_pl.coco.parameters import read_parameters, record_parameters
from cutler_pl.commands.augmentation import augmentation_settings
from cutler_pl.commands.predict import annotated_images, inference_options, load_for_prediction, write_predictions
from cutler_pl.commands.run_metadata import plain, record_run
from cutler_pl.commands.settings import require
from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.files import file_digest, is_file, write_text
from cutler_pl.runtime.locks import rank_zero_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.self_training import RoundOptions, merge_files
from cutler_pl.training.callbacks.coco_results import parts_folder, recorded_images

log = get_logger(__name__)

KEEP_SCORE = "keep_score"


def run(cfg: DictConfig) -> Path:
    """Write `<output>/annotations.json` for the next round, as `conf/self_train.yaml` describes.

    Raises:
        ConfigError: A score is outside 0..1, or predictions would be missing, or the output holds those of others.
        CheckpointError: The checkpoint cannot be read.
        DatasetNotFoundError: Images or annotations are missing.
        AnnotationError: Annotations or predictions break the format.
        OutputLockedError: Another run writes into the output folder.
    """
    given = cfg.predictions is not None
    require(cfg, *(() if given else ("checkpoint", "images")), "annotations", "output")
    keep_score = 0.0 if given else float(cfg.keep_score)
    options = RoundOptions(threshold=float(cfg.threshold), keep_score=keep_score, on_error=cfg.on_error)
    if given:
        _check_recorded(Path(cfg.predictions), options)
    with rank_zero_lock(cfg.output, purpose="self_train"):
        predictions = Path(cfg.predictions) if given else _predict(cfg, Path(cfg.output), options)
        return _next_round(cfg, predictions, Path(cfg.output), options)


def _check_recorded(predictions: Path, options: RoundOptions) -> None:
    recorded = (read_parameters(predictions.parent) or {}).get(KEEP_SCORE)
    if isinstance(recorded, int | float):
        options.check_kept(float(recorded), f"keep_score of {predictions}", "predict again with a lower keep_score")


def _predict(cfg: DictConfig, output: Path, options: RoundOptions) -> Path:
    """Write the predictions, or what is missing of them."""
    predictions = output / "predictions" / "predictions.json"
    # read first: a checkpoint that is refused leaves no index beside the annotations
    detector = None if predictions.is_file() else load_for_prediction(cfg)
    images = annotated_images(cfg, cfg.images, cfg.annotations)
    if global_rank() == 0:
        if read_parameters(predictions.parent) is None:  # whatever lies there is not known to be of these settings
            shutil.rmtree(parts_folder(predictions), ignore_errors=True)
            predictions.unlink(missing_ok=True)
        record_parameters(predictions.parent, _parameters(cfg, images.index, options))
    if detector is None and predictions.is_file():
        log.info("%s: finished before, kept", predictions)
        return predictions
    images.done_ids = recorded_images(predictions)
    if len(images.done_ids):
        log.info("%s: %d of %d images are done already", predictions, len(images.done_ids), len(images.index))
    model, metadata = detector or load_for_prediction(cfg)
    ids, keep_score = metadata.category_ids, options.keep_score
    write_predictions(cfg, model, images, predictions, category_ids=ids, min_score=keep_score)
    return predictions


def _parameters(cfg: DictConfig, images: InstanceIndex, options: RoundOptions) -> Mapping[str, Any]:
    """All that predictions depend on."""
    listed = sha256()
    for column in (images.image_ids, images.sizes_hw, images.file_names.offsets, images.file_names.data):
        listed.update(column.tobytes())
    return {
        "checkpoint": file_digest(cfg.checkpoint) if is_file(cfg.checkpoint) else str(cfg.checkpoint),
        "images": str(Path(cfg.images).resolve()),
        "images_of_annotations": listed.hexdigest(),
        KEEP_SCORE: options.keep_score,
        **inference_options(cfg),
        "tiles": [cfg.tile, cfg.overlap],
        "tta": augmentation_settings(cfg),
        "backend": cfg.backend,
        "num_classes": cfg.num_classes,
        "model": None if cfg.get("model") is None else plain(cfg.model),
    }


def _next_round(cfg: DictConfig, predictions: Path, output: Path, options: RoundOptions) -> Path:
    target = output / "annotations.json"
    if global_rank() != 0:
        return target
    merged = merge_files(cfg.annotations, predictions, target, options.threshold, on_error=options.on_error)
    record_run(output, cfg)
    rejected = output / "rejected.txt"
    write_text(rejected, "".join(f"{reason}\n" for reason in merged.dropped))
    log.info("%d annotations for the next round in %s", merged.total, target)
    if merged.dropped:
        log.warning("%d invalid records were left out, listed in %s", len(merged.dropped), rejected)
    return target
