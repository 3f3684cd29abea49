"""Predictions of one image, written as one image with its results and record beside it."""

from pathlib import Path
from typing import cast

import numpy as np
from omegaconf import DictConfig

from cutler_pl.api.cutler import CutLER
from cutler_pl.api.result import Result
from cutler_pl.commands.augmentation import augmentation
from cutler_pl.commands.predict_device import autocast_of
from cutler_pl.commands.predict_output import OutputFile
from cutler_pl.commands.run_metadata import record_run_beside
from cutler_pl.media.sources import Sources
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.locks import output_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.image_files import save_image
from cutler_pl.visual.window import Window

log = get_logger(__name__)


def predict_image(
    cfg: DictConfig, detector: CutLER, sources: Sources, file: OutputFile, *, window: Window | None
) -> Path:
    """Write the image with its overlays last: where it is there, so is the rest; returns the COCO results file.

    Raises:
        ImageReadError: The image cannot be read.
        OutputLockedError: Another run writes the same file.
    """
    with output_lock(file.media, purpose="predict"):
        with autocast_of(cfg, detector.device):
            path = sources.root / sources.images[0]
            options = {"tile": cfg.tile, "overlap": cfg.overlap, "tta": augmentation(cfg)}
            found = detector.predict(path, batch_size=cfg.batch_size, **options)
        result = cast(Result, found)  # of one image
        overlay = np.asarray(result.plot(float(cfg.overlay_score)))
        if window is not None:
            window.show(overlay)
        write_json(file.results, result.to_coco(image_id=1))
        record_run_beside(file.record, cfg)
        save_image(file.media, overlay)
    log.info("%s: %d detections; overlays of those scoring at least %g", file.media, len(result), cfg.overlay_score)
    return file.results
