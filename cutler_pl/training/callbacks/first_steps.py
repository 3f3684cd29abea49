"""Time and memory of a training, measured over its first steps."""

import sys
import time
from datetime import timedelta
from typing import Any

import lightning as L
import torch

from cutler_pl.runtime.logging import get_logger
from cutler_pl.training.accumulation import ends_step
from cutler_pl.training.callbacks.time_budget import seconds_left

log = get_logger(__name__)


class FirstSteps(L.Callback):
    """Logs once how long a step takes, what the steps to come take, and the peak memory so far.

    Args:
        num_steps: Steps to measure, after a first one, which is slower.
    """

    def __init__(self, *, num_steps: int = 5) -> None:
        self.num_steps = num_steps
        self._first: tuple[float, int] | None = None
        self._said = False

    def on_train_start(self, *_: Any) -> None:
        """Begin anew."""
        self._first, self._said = None, False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure, and say it."""
        if self._said or not ends_step(trainer, batch_idx):
            return
        now, step = time.perf_counter(), trainer.global_step
        if self._first is None:
            self._first = now, step
            return
        since, first = self._first
        if step - first < self.num_steps:
            return
        self._said = True
        seconds = (now - since) / (step - first)
        steps = trainer.max_steps - step
        left = min(steps * seconds, seconds_left(trainer))
        steps = min(steps, round(left / seconds))
        to_come = f", the {steps:,} to come about {timedelta(seconds=round(left))}" if steps > 0 else ""
        memory = _peak_memory(trainer.strategy.root_device)
        used = "" if memory is None else f"; peak memory {memory / 1e9:.1f} GB"
        log.info("a step takes %.2f s%s, without validation%s", seconds, to_come, used)


def _peak_memory(device: torch.device) -> int | None:
    """Bytes reserved on a GPU, else used by this process; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
