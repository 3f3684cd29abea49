"""Images per second in training, and the share of the time spent waiting for data."""

import time
from typing import Any

import lightning as L

from cutler_pl.runtime.ranges import Count, check_arguments


class Throughput(L.Callback):
    """Logs `train/images_per_s` over all ranks and `train/data_wait`, the share of the time without a batch.

    Validation, precise batch normalisation and the first steps (workers start, kernels are chosen) do not count; other
    callbacks count as waiting.

    Args:
        every_n_steps: Length of a window in steps; that of the Trainer's `log_every_n_steps`.
        warmup_steps: First steps after a start, which are left out.
    """

    @check_arguments("callbacks.throughput.")
    def __init__(self, *, every_n_steps: Count = 20, warmup_steps: int = 2) -> None:
        self.every_n_steps = every_n_steps
        self.warmup_steps = warmup_steps
        self._to_leave_out = warmup_steps
        self._window_start: float | None = None
        self._step_end: float | None = None
        self._waited, self._images = 0.0, 0

    def on_train_start(self, *_: Any) -> None:
        """Leave out the first steps."""
        self._to_leave_out = self.warmup_steps
        self._restart(None)

    def on_train_batch_start(self, *_: Any) -> None:
        """Count the time since the end of the last step as waiting for data."""
        now = time.perf_counter()
        if self._window_start is None:
            self._window_start = now
        elif self._step_end is not None:
            self._waited += now - self._step_end

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images; log at the end of a window."""
        now = time.perf_counter()
        if self._to_leave_out > 0:
            self._to_leave_out -= 1
            self._restart(now if self._to_leave_out == 0 else None)
            return
        images, _ = batch
        self._images += len(images)
        self._step_end = now
        batches = self.every_n_steps * trainer.accumulate_grad_batches
        if (batch_idx + 1) % batches or self._window_start is None or now <= self._window_start:
            return
        elapsed = now - self._window_start
        pl_module.log("train/images_per_s", self._images * trainer.world_size / elapsed, prog_bar=True, batch_size=1)
        pl_module.log("train/data_wait", self._waited / elapsed, prog_bar=True, batch_size=1)
        self._restart(now)

    def on_validation_end(self, *_: Any) -> None:
        """Start a new window after validation."""
        self._restart(None)

    def leave_out(self, seconds: float) -> None:
        """Do not count some seconds that have just passed."""
        if self._window_start is not None:
            self._window_start += seconds
        if self._step_end is not None:
            self._step_end += seconds

    def _restart(self, now: float | None) -> None:
        self._window_start = self._step_end = now
        self._waited, self._images = 0.0, 0
