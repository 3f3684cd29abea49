"""A progress bar over steps, with the loss and the images a second."""

import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm, convert_inf


class StepProgressBar(TQDMProgressBar):
    """Lightning's bar, counting towards the last step: training here has no epochs.

    The values shown are fetched from the device only when the bar is redrawn, every `refresh_rate` steps.
    """

    def __init__(self, *, refresh_rate: int = 20, process_position: int = 0, leave: bool = False) -> None:
        """Set how often the bar is redrawn; see Lightning's `TQDMProgressBar`."""
        super().__init__(refresh_rate=refresh_rate, process_position=process_position, leave=leave)

    @property
    def total_train_batches(self) -> int | float:
        """Steps of the whole training; without a number of steps, batches of an epoch."""
        steps = self.trainer.max_steps
        return steps * self.trainer.accumulate_grad_batches if steps > 0 else super().total_train_batches

    def on_train_start(self, *_: Any) -> None:
        """Open no bar yet: Lightning would draw one without a total, and a second one a moment later."""

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Open the bar over the steps of the training."""
        if self._train_progress_bar is None:
            self.train_progress_bar = Tqdm(
                desc="training",
                total=convert_inf(self.total_train_batches),
                initial=trainer.global_step * trainer.accumulate_grad_batches,
                position=2 * self.process_position,
                disable=self.is_disabled,
                leave=True,
                dynamic_ncols=True,
                file=sys.stdout,
                smoothing=0,
            )

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Values beside the bar, without their `train/`."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name.removeprefix("train/"): value for name, value in metrics.items() if name != "v_num"}
