"""Run a detector over images: COCO results, the list of the images, overlays."""

from collections.abc import Mapping, Sequence, Set
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from cutler_pl.api.cutler import CutLER
from cutler_pl.coco.failures import FAILURES_NAME, write_failures
from cutler_pl.coco.schema import Category, Coco, Image, Result
from cutler_pl.commands.augmentation import augmentation
from cutler_pl.commands.instantiate import build_trainer, load_detector_from
from cutler_pl.commands.interrupted_predictions import keep_interrupted
from cutler_pl.commands.predict_device import apply_device, computes_bfloat16, device_of
from cutler_pl.commands.predict_file import predict_image
from cutler_pl.commands.predict_output import output_file, refuse_other_run
from cutler_pl.commands.predict_videos import VideoFolder, predict_to_file
from cutler_pl.commands.run_metadata import record_run
from cutler_pl.commands.settings import require
from cutler_pl.commands.tiling import tiling
from cutler_pl.data import EvalDataModule, PredictDataModule
from cutler_pl.data.image_datamodule import ImageFiles
from cutler_pl.errors import ConfigError, DatasetNotFoundError
from cutler_pl.media.sources import Sources, find_sources
from cutler_pl.models import Detector, DetectorMetadata
from cutler_pl.models.backends import choose_backend
from cutler_pl.models.tiled import as_shown
from cutler_pl.runtime.distributed import gather, global_rank
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.imports import require as require_extra
from cutler_pl.runtime.locks import rank_zero_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.training import DetectorModule
from cutler_pl.training.callbacks import PredictionWriter
from cutler_pl.training.callbacks.prediction_writer import OnImage
from cutler_pl.types import ImageTensor
from cutler_pl.visual.figure_path import figure_path, names_alike
from cutler_pl.visual.image_files import save_image
from cutler_pl.visual.records import draw_records
from cutler_pl.visual.window import Window

log = get_logger(__name__)


def run(cfg: DictConfig) -> Path:
    """Predict on whatever `input` names, as `conf/predict.yaml` describes.

    Returns:
        The COCO results file; of a video its JSON file, of several in a folder that folder.

    Raises:
        DatasetNotFoundError: There is no readable image.
        VideoReadError: There is no readable video, or the only one is damaged.
        ConfigError: The output exists, or does not go with the input.
        CheckpointError: The checkpoint cannot be read or does not fit the model.
        OutputLockedError: Another run writes to the output.
    """
    require(cfg, "checkpoint", "input", "output")
    sources = find_sources(list(cfg.input) if isinstance(cfg.input, ListConfig) else cfg.input)
    file, output = output_file(cfg, sources), Path(cfg.output)
    if file is None:
        refuse_other_run(cfg, output)
    _check_video_settings(cfg, sources)
    apply_device(cfg)
    model, metadata = load_for_prediction(cfg)
    with Window(f"cutler predict {cfg.input}") if cfg.show else nullcontext() as window:
        if file is not None:
            detector = CutLER(model, metadata, device=device_of(cfg))
            predict_one = predict_image if sources.images else predict_to_file
            return predict_one(cfg, detector, sources, file, window=window)
        with rank_zero_lock(output, purpose="predict"):
            videos, results = None, output
            if sources.videos or sources.camera is not None:
                videos = VideoFolder(cfg, CutLER(model, metadata, device=device_of(cfg)), sources, output)
                videos.predict(window=window)
            if sources.images:
                datamodule = PredictDataModule(sources, batch_size=cfg.batch_size, num_workers=cfg.num_workers)
                results = _predict(cfg, model, metadata, datamodule, output, window=window)
            elif global_rank() == 0:
                record_run(output, cfg)
            if videos is not None:
                videos.finish()
            return results


def _check_video_settings(cfg: DictConfig, sources: Sources) -> None:
    if sources.videos or sources.camera is not None:
        require_extra("av", extra="video", purpose="reading videos")
        if cfg.track:
            require_extra("trackers", extra="video", purpose="track=true")
        return
    for name in ("track", "max_frames"):
        if cfg[name] not in (None, False):
            raise ConfigError(f"{name}={cfg[name]}: there is no video in input={cfg.input}; leave it out")


def _predict(
    cfg: DictConfig,
    model: Detector,
    metadata: DetectorMetadata,
    datamodule: PredictDataModule,
    output: Path,
    *,
    window: Window | None,
) -> Path:
    results = output / "predictions.json"
    names = dict(zip(metadata.category_ids, metadata.class_names, strict=True))
    folder, min_score = output / "overlays", float(cfg.overlay_score)
    draw = None
    if cfg.overlays:
        alike = names_alike(datamodule.image_files().file_names)
        draw = partial(_draw_overlay, folder=folder, alike=alike, names=names, min_score=min_score, window=window)
    ids = metadata.category_ids
    keep_interrupted(cfg, model, datamodule, results, category_ids=ids)
    sizes_hw = write_predictions(cfg, model, datamodule, results, category_ids=ids, on_image=draw)
    if global_rank() == 0:
        images = _image_records(datamodule.image_files(), sizes_hw)
        categories = [Category(id=i, name=name) for i, name in names.items()]
        record_run(output, cfg)
        write_json(output / "images.json", Coco(images=images, annotations=[], categories=categories))
        if cfg.overlays:
            log.info("%s: %d overlays, of detections scoring at least %g", folder, len(images), min_score)
    return results


def annotated_images(cfg: DictConfig, images: str | Path, annotations: str | Path) -> EvalDataModule:
    """The checked images of a COCO file.

    Raises:
        DatasetNotFoundError: The folder, the file or the first image is missing.
        AnnotationError: The file is invalid or lists no image.
    """
    datamodule = EvalDataModule(images, annotations, batch_size=cfg.batch_size, num_workers=cfg.num_workers)
    datamodule.check()
    return datamodule


def load_for_prediction(cfg: DictConfig, *, max_detections: int | None = None) -> tuple[Detector, DetectorMetadata]:
    """Load `cfg.checkpoint` in evaluation mode; `max_detections` per image if `cfg.max_detections` is null."""
    options = inference_options(cfg)
    if max_detections is not None:
        options.setdefault("max_detections", max_detections)
    device = device_of(cfg)
    backend = choose_backend(cfg.backend, bfloat16=computes_bfloat16(cfg, device))
    backend.check(device)
    model, metadata = load_detector_from(cfg, str(cfg.checkpoint), **options)
    backend.install(model.eval(), exported=cfg.exported)
    return model, metadata


def inference_options(cfg: DictConfig) -> dict[str, Any]:
    """The settings of `conf/inference/base.yaml` that replace those of the checkpoint."""
    names = ("score_threshold", "nms_threshold", "max_detections", "min_size_test", "max_size_test")
    return {name: cfg[name] for name in names if cfg[name] is not None}


def write_predictions(
    cfg: DictConfig,
    model: Detector,
    datamodule: EvalDataModule | PredictDataModule,
    results: Path,
    *,
    category_ids: Sequence[int],
    on_image: OnImage | None = None,
    min_score: float = 0.0,
) -> Mapping[int, tuple[int, int]]:
    """Write the results file and, beside it, `failures.jsonl`; what an interrupted run has left in the parts is kept.

    Args:
        cfg: The settings of `conf/inference/base.yaml`.
        results: COCO results file to write.
        category_ids: Category id of label 1, 2, …
        on_image: Called with each image and its results.
        min_score: Least score of the detections that are written.

    Returns:
        On rank 0, height and width of every readable image by id.

    Raises:
        DatasetNotFoundError: None of the images can be read.
    """
    writer = PredictionWriter(results, category_ids=category_ids, on_image=on_image, min_score=min_score, resume=True)
    trainer = build_trainer(cfg, callbacks=[writer])
    before = results.exists()
    module = DetectorModule(as_shown(model, tta=augmentation(cfg), tiles=tiling(cfg)))
    trainer.predict(module, datamodule=datamodule, return_predictions=False)
    failures = dict(sorted(gather(list(datamodule.failures.items()))))
    nothing = bool(failures) and len(failures) == len(datamodule.image_files())
    if trainer.is_global_zero and not (nothing and before):
        write_failures(results.with_name(FAILURES_NAME), failures)
    if nothing:
        first = next(iter(failures.values()))
        raise DatasetNotFoundError(f"none of the {len(failures)} images can be read; the first: {first}")
    return writer.sizes_hw


def _image_records(files: ImageFiles, sizes_hw: Mapping[int, tuple[int, int]]) -> list[Image]:
    """COCO records of the readable images, upright size."""
    names = {int(image_id): name for image_id, name in zip(files.image_ids, files.file_names, strict=True)}
    sizes = {image_id: sizes_hw[image_id] for image_id in names if image_id in sizes_hw}
    return [Image(id=i, file_name=names[i], height=height, width=width) for i, (height, width) in sizes.items()]


def _draw_overlay(
    image: ImageTensor,
    file_name: str,
    results: Sequence[Result],
    *,
    folder: Path,
    alike: Set[str],
    names: dict[int, str],
    min_score: float,
    window: Window | None,
) -> None:
    """Draw an image with the detections that score at least `min_score`, and their names if there are several."""
    shown = [result for result in results if result["score"] >= min_score]
    overlay = draw_records(image, shown, names=names if len(names) > 1 else None)
    if window is not None:
        window.show(overlay)
    save_image(figure_path(folder, file_name, alike=alike), overlay)
