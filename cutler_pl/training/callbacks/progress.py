"""Progress over steps: a bar in a terminal, plain lines elsewhere, each with loss, rates and the time left."""

import sys
import time
from datetime import timedelta
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm, convert_inf

from cutler_pl.runtime.logging import get_logger, is_terminal
from cutler_pl.training.accumulation import ends_step
from cutler_pl.training.callbacks.time_budget import seconds_left

log = get_logger(__name__)


class StepProgressBar(TQDMProgressBar):
    """Lightning's bar over all steps, as training has no epochs; values are fetched every `refresh_rate` steps.

    Args:
        refresh_rate: Steps between two updates.
        plain: Lines in the log instead of a bar; None where standard output is no terminal, or one without a width.
        seconds_between_lines: Least time between two lines.
    """

    train_description = "training"

    def __init__(
        self, *, refresh_rate: int = 20, process_position: int = 0, leave: bool = False, plain: bool | None = None,
        seconds_between_lines: float = 10.0,
    ) -> None:  # fmt: skip
        super().__init__(refresh_rate=refresh_rate, process_position=process_position, leave=leave)
        self.plain = plain
        self.seconds_between_lines = seconds_between_lines
        self._start: tuple[float, int] | None = None  # time and step from which the rate is counted
        self._said_at = 0.0

    @property
    def total_train_batches(self) -> int | float:
        """Batches of the whole training, or of an epoch where there is no `max_steps`."""
        steps = self.trainer.max_steps
        return steps * self.trainer.accumulate_grad_batches if steps > 0 else super().total_train_batches

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Choose between bar and lines."""
        super().setup(trainer, pl_module, stage)
        self._is_plain = not is_terminal(sys.stdout) if self.plain is None else self.plain
        self._start = None
        if self._is_plain:
            self.disable()

    def on_train_start(self, *_: Any) -> None:
        """Open no bar yet: Lightning would draw a second one a moment later."""

    def on_train_epoch_start(self, *_: Any) -> None:
        """Open no bar here: a resumed training does not come by."""

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Open the bar over the steps of the training."""
        if self._train_progress_bar is None:
            self.train_progress_bar = self.init_train_tqdm()

    def init_train_tqdm(self) -> Tqdm:
        """A bar that begins at the step of the training."""
        return Tqdm(
            desc=self.train_description, position=2 * self.process_position, disable=self.is_disabled, leave=True,
            dynamic_ncols=True, file=sys.stdout, smoothing=0, bar_format=self.BAR_FORMAT,
            initial=self.trainer.global_step * self.trainer.accumulate_grad_batches,
            total=convert_inf(self.total_train_batches),
        )  # fmt: skip

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar on, or write a line."""
        if not self._is_plain:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            return
        if not ends_step(trainer, batch_idx):
            return
        now, step = time.monotonic(), trainer.global_step
        if self._start is None:
            self._start = now, step  # the first step is slower than the others
        is_due = step % self._refresh_rate == 0 and now - self._said_at >= self.seconds_between_lines
        if is_due or step == trainer.max_steps:
            self._said_at = now
            log.info("%s", self._line(trainer, now, step))

    def get_metrics(self, *of: Any) -> dict[str, int | str | float | dict[str, float]]:
        """Values beside the bar: losses without their `train/`, and rates as in the lines of a log."""
        shown: dict[str, int | str | float | dict[str, float]] = {}
        for name, value in super().get_metrics(*of).items():
            if name == "train/images_per_s":
                shown["img/s"] = f"{value:.1f}"
            elif name == "train/data_wait":
                shown["data time"] = f"{value:.0%}"
            elif name != "v_num":
                shown[name.removeprefix("train/")] = value
        return shown

    def _line(self, trainer: L.Trainer, now: float, step: int) -> str:
        values = {name.removeprefix("train/"): float(value) for name, value in trainer.callback_metrics.items()}
        parts = [f"step {step} of {trainer.max_steps}" if trainer.max_steps > 0 else f"step {step}"]
        if "loss" in values:
            parts.append(f"loss {values['loss']:.3f}")
        if "images_per_s" in values:
            parts.append(f"{values['images_per_s']:.1f} img/s, {values['data_wait']:.0%} data time")
        assert self._start is not None  # set before
        since, first = self._start
        if step > first and trainer.max_steps > step:
            left = min((now - since) / (step - first) * (trainer.max_steps - step), seconds_left(trainer))
            parts.append(f"{timedelta(seconds=round(left))} left")
        return ", ".join(parts)
