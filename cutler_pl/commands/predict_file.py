"""Predictions of one image, written as one image with its results and record beside it."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast

import numpy as np
import torch
from omegaconf import DictConfig

from cutler_pl.api.cutler import CutLER
from cutler_pl.api.result import Result
from cutler_pl.commands.predict_output import OutputFile
from cutler_pl.commands.run_metadata import record_run_beside
from cutler_pl.errors import ConfigError
from cutler_pl.media.sources import Sources
from cutler_pl.models import Detector, DetectorMetadata
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.locks import output_lock
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.image_files import save_image

_AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}

log = get_logger(__name__)


def predict_image(
    cfg: DictConfig, model: Detector, metadata: DetectorMetadata, sources: Sources, file: OutputFile
) -> Path:
    """Write the image with its overlays last: where it is there, so is the rest; returns the COCO results file.

    Raises:
        ImageReadError: The image cannot be read.
        OutputLockedError: Another run writes the same file.
    """
    detector = CutLER(model, metadata, device=device_of(cfg))
    with output_lock(file.media, purpose="predict"):
        with autocast_of(cfg, detector.device):
            path = sources.root / sources.images[0]
            found = detector.predict(path, batch_size=cfg.batch_size, tile=cfg.tile, overlap=cfg.overlap)
        result = cast(Result, found)  # of one image
        write_json(file.results, result.to_coco(image_id=1))
        record_run_beside(file.record, cfg)
        save_image(file.media, np.asarray(result.plot(float(cfg.overlay_score))))
    log.info("%s: %d detections; overlays of those scoring at least %g", file.media, len(result), cfg.overlay_score)
    return file.results


def device_of(cfg: DictConfig) -> torch.device:
    """The one device that `trainer` stands for.

    Raises:
        ConfigError: There is no such device on this machine.
    """
    accelerator, devices = cfg.trainer.accelerator, cfg.trainer.devices
    if accelerator in ("auto", "gpu"):
        accelerator = next((kind for kind, there in _gpus().items() if there), "cpu" if accelerator == "auto" else None)
    if accelerator is None or (accelerator != "cpu" and not _gpus().get(accelerator)):
        raise ConfigError(f"this machine cannot run trainer.accelerator={cfg.trainer.accelerator}; try trainer=cpu")
    number = devices[0] if not isinstance(devices, int | str) else 0
    if accelerator == "cuda" and number >= torch.cuda.device_count():
        raise ConfigError(f"trainer.devices=[{number}]: this machine has {torch.cuda.device_count()} GPUs, from 0")
    return torch.device(accelerator, number) if accelerator == "cuda" else torch.device(accelerator)


def _gpus() -> dict[str, bool]:
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


def autocast_of(cfg: DictConfig, device: torch.device) -> AbstractContextManager[object]:
    """What `trainer.precision` stands for.

    Raises:
        ConfigError: It is none of those of prediction.
    """
    precision = str(cfg.trainer.precision)
    if precision in ("32-true", "32"):
        return nullcontext()
    if precision not in _AUTOCAST:
        raise ConfigError(f"trainer.precision={precision}: expected one of 32-true, {', '.join(_AUTOCAST)}")
    return torch.autocast(device.type, dtype=_AUTOCAST[precision])
