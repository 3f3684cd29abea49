"""Run a detector over photos: a COCO results file, the list of images it speaks of, and pictures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from cutler_pl.coco import rle
from cutler_pl.coco.io import load_predictions
from cutler_pl.coco.records import group_by_image
from cutler_pl.coco.schema import Category, Coco, Image
from cutler_pl.commands.instantiate import build_trainer, load_detector_from
from cutler_pl.commands.run_metadata import record_run
from cutler_pl.commands.settings import require
from cutler_pl.data import EvalDataModule, PredictDataModule
from cutler_pl.data.image_datamodule import ImageFiles
from cutler_pl.errors import DatasetNotFoundError
from cutler_pl.images import read_image, read_image_size
from cutler_pl.models import Detector
from cutler_pl.ops.boxes import xywh_to_xyxy
from cutler_pl.runtime.distributed import gather, global_rank
from cutler_pl.runtime.files import write_json, write_text
from cutler_pl.runtime.logging import get_logger
from cutler_pl.training import DetectorModule
from cutler_pl.training.callbacks import PredictionWriter
from cutler_pl.visual.draw import draw_instances
from cutler_pl.visual.image_files import save_image

log = get_logger(__name__)


@dataclass(frozen=True)
class LoadedDetector:
    """A detector ready to predict, and what its labels mean."""

    model: Detector
    category_ids: Sequence[int]
    class_names: Sequence[str]


def run(cfg: DictConfig) -> Path:
    """Predict on a file, folder or list of images, as `conf/predict.yaml` describes.

    Returns:
        The COCO results file.

    Raises:
        DatasetNotFoundError: There is no image to predict on, or none can be read.
        CheckpointError: The checkpoint cannot be read or does not fit the model.
    """
    require(cfg, "checkpoint", "input", "output")
    datamodule = PredictDataModule(cfg.input, batch_size=cfg.batch_size, num_workers=cfg.num_workers)
    datamodule.check()
    detector = load_for_prediction(cfg)
    output = Path(cfg.output)
    record_run(output, cfg)
    results = output / "predictions.json"
    failed = write_predictions(cfg, detector, datamodule, results)
    if global_rank() != 0:
        return results
    names = zip(detector.category_ids, detector.class_names, strict=True)
    categories = [Category(id=i, name=name) for i, name in names]
    coco = Coco(images=_image_records(datamodule.image_files(), failed), annotations=[], categories=categories)
    write_json(output / "images.json", coco)
    if cfg.overlays:
        _draw_overlays(datamodule.image_files().root, coco, results, output / "overlays", float(cfg.overlay_score))
    return results


def predict_annotated(cfg: DictConfig, output: Path) -> Path:
    """Predict on the images of a COCO file: `cfg.images`, `cfg.annotations` and the settings of `conf/predict.yaml`.

    Returns:
        The COCO results file, `<output>/predictions.json`.
    """
    datamodule = annotated_images(cfg, cfg.images, cfg.annotations)
    results = output / "predictions.json"
    write_predictions(cfg, load_for_prediction(cfg), datamodule, results)
    return results


def annotated_images(cfg: DictConfig, images: str | Path, annotations: str | Path) -> EvalDataModule:
    """The images of a COCO file, found and checked.

    Raises:
        DatasetNotFoundError: The folder, the file or the first image is missing.
        AnnotationError: The file is faulty or lists no image.
    """
    datamodule = EvalDataModule(images, annotations, batch_size=cfg.batch_size, num_workers=cfg.num_workers)
    datamodule.check()
    return datamodule


def load_for_prediction(cfg: DictConfig, *, max_detections: int | None = None) -> LoadedDetector:
    """Load `cfg.checkpoint`, built as the file says or shows, or as `model=` says.

    Args:
        cfg: The settings of `conf/predict.yaml`.
        max_detections: Detections per image where `cfg.max_detections` names none; None: as the model was built.

    Raises:
        CheckpointError: The file cannot be read, or its weights do not fit the model.
    """
    most = cfg.max_detections if cfg.max_detections is not None else max_detections
    options = {} if most is None else {"max_detections": most}
    model, metadata = load_detector_from(cfg, str(cfg.checkpoint), **options)
    return LoadedDetector(model.eval(), metadata.category_ids, metadata.class_names)


def write_predictions(
    cfg: DictConfig, detector: LoadedDetector, datamodule: EvalDataModule | PredictDataModule, results: Path
) -> set[str]:
    """Write the results file and, beside it, `failures.jsonl`; returns the images that could not be read.

    Raises:
        DatasetNotFoundError: None of the images can be read.
    """
    writer = PredictionWriter(results, category_ids=detector.category_ids, score_threshold=float(cfg.score_threshold))
    trainer = build_trainer(cfg, callbacks=[writer])
    trainer.predict(DetectorModule(detector.model), datamodule=datamodule, return_predictions=False)
    failures = sorted(gather(list(datamodule.failures)))
    if trainer.is_global_zero:
        lines = [json.dumps(failure._asdict(), ensure_ascii=False) + "\n" for failure in failures]
        write_text(results.with_name("failures.jsonl"), "".join(lines))
    if failures and len(failures) == len(datamodule.image_files()):
        raise DatasetNotFoundError(f"none of the {len(failures)} images can be read; the first: {failures[0].reason}")
    return {failure.file_name for failure in failures}


def _image_records(files: ImageFiles, failed: set[str]) -> list[Image]:
    """COCO records of the images that can be read, upright size."""
    records = []
    for image_id, name in zip(files.image_ids, files.file_names, strict=True):
        if name not in failed:
            height, width = read_image_size(files.root / name)
            records.append(Image(id=int(image_id), file_name=name, height=height, width=width))
    return records


def _draw_overlays(root: Path, coco: Coco, results: Path, folder: Path, min_score: float) -> None:
    """One picture an image with the detections that score at least `min_score`."""
    names = {category["id"]: category["name"] for category in coco["categories"]}
    by_image = group_by_image(p for p in load_predictions(results, coco).results if p["score"] >= min_score)
    for record in coco["images"]:
        image = read_image(root / record["file_name"])
        found = by_image.get(record["id"], [])
        masks = np.array([rle.decode(p["segmentation"]) for p in found]).reshape(-1, *image.shape[:2])
        boxes = xywh_to_xyxy(np.array([p["bbox"] for p in found], dtype=np.float64).reshape(-1, 4))
        labels = [names[p["category_id"]] for p in found] if len(names) > 1 else None
        scores = [p["score"] for p in found]
        picture = draw_instances(image, masks.astype(bool), boxes=boxes, scores=scores, labels=labels)
        save_image(folder / f"{record['file_name']}.jpg", picture)
    log.info("%s: %d pictures with detections scoring at least %g", folder, len(coco["images"]), min_score)
