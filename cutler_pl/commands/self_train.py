"""Make the annotations of the next self-training round (section 3.4 of the paper): predict, select, merge."""

from pathlib import Path

from omegaconf import DictConfig

from cutler_pl.coco.io import save_coco
from cutler_pl.commands.predict import annotated_images, load_for_prediction, write_predictions
from cutler_pl.commands.run_metadata import record_run
from cutler_pl.commands.settings import require
from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.files import write_text
from cutler_pl.runtime.locks import rank_zero_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.self_training import merge

log = get_logger(__name__)


def run(cfg: DictConfig) -> Path:
    """Write `<output>/annotations.json` for the next round, as `conf/self_train.yaml` describes.

    Raises:
        ConfigError: A value is needed and not given.
        CheckpointError: The checkpoint cannot be read.
        DatasetNotFoundError: Images or annotations are missing.
        AnnotationError: Annotations or predictions break the format.
        OutputLockedError: Another run writes into the output folder.
    """
    require(cfg, "checkpoint", "images", "annotations", "output")
    with rank_zero_lock(cfg.output, purpose="self_train"):
        return _next_round(cfg, Path(cfg.output))


def _next_round(cfg: DictConfig, output: Path) -> Path:
    images = annotated_images(cfg, cfg.images, cfg.annotations)
    predictions = output / "predictions" / "predictions.json"
    model, metadata = load_for_prediction(cfg)
    write_predictions(cfg, model, images, predictions, category_ids=metadata.category_ids)
    target = output / "annotations.json"
    if global_rank() != 0:
        return target
    merged = merge(cfg.annotations, predictions, cfg.threshold, on_error=cfg.on_error)
    save_coco(target, merged.coco)
    record_run(output, cfg)
    rejected = output / "rejected.txt"
    write_text(rejected, "".join(f"{reason}\n" for reason in merged.dropped))
    log.info("%d annotations for the next round in %s", len(merged.coco["annotations"]), target)
    if merged.dropped:
        log.warning("%d invalid records were left out, listed in %s", len(merged.dropped), rejected)
    return target
