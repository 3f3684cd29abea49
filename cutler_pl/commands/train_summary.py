"""What a training is going to do, in the log before its first step."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig
from torch import nn

from cutler_pl.training.callbacks import StepCheckpoint
from cutler_pl.training.optim import scaled_lr

BYTES_PER_WEIGHT = 8  # in a checkpoint: the weight and its momentum, 32-bit
_BYTES_IN_TRAINING = 12  # of its gradient, too


def summary(cfg: DictConfig, trainer: L.Trainer, model: nn.Module, training_set: Any, *, way_on: str) -> Iterator[str]:
    """Lines with data, steps, hardware, checkpoints, output folder and how to go on after an interruption."""
    images = cfg.data.batch_size * trainer.accumulate_grad_batches
    steps, count = trainer.max_steps, len(training_set.chosen)
    passes = f", {steps * images / count:.1f} passes over {count:,} images" if steps > 0 else f" over {count:,} images"
    names = ", ".join(training_set.class_names[:5]) + (", …" if len(training_set.class_names) > 5 else "")
    classes = _counted(len(training_set.category_ids), "class", "es")
    yield f"{steps:,} steps of {images} images{passes}; {classes}: {names}"
    yield (
        f"learning rate {_learning_rate(cfg.optimizer, images)}, precision {trainer.precision}, "
        f"{_counted(trainer.world_size, 'process', 'es')} on {_device(trainer)}"
    )
    weights = sum(parameter.numel() for parameter in model.parameters())
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    every = next((one.every_n_steps for one in callbacks if isinstance(one, StepCheckpoint)), None)
    stored = _size(BYTES_PER_WEIGHT * weights)
    kept = "no checkpoints" if every is None else f"a checkpoint every {every:,} steps, about {stored}"
    validated = cfg.data.get("validation") is not None
    yield f"{kept}; " + (f"validation every {cfg.trainer.val_check_interval:,} steps" if validated else "no validation")
    least = _size(_BYTES_IN_TRAINING * weights)
    yield f"memory: {least} for weights, gradients and momentum; with the images, and time: measured in the first steps"
    yield f"output in {Path(cfg.paths.output_dir)}; after an interruption {way_on}"


def _learning_rate(solver: DictConfig, images: int) -> str:
    """Of steps with so many images, and the setting that it comes from."""
    if solver.get("scale", "none") == "none":
        return f"{solver.lr:g} (optimizer.lr)"
    rate = scaled_lr(solver.lr, scale=solver.scale, lr_batch_size=solver.lr_batch_size, batch_size=images)
    return f"{rate:g} (optimizer.lr={solver.lr:g} with optimizer.scale={solver.scale})"


def _counted(number: int, noun: str, plural: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{plural}"


def _device(trainer: L.Trainer) -> str:
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"the {device.type.upper()}"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"
