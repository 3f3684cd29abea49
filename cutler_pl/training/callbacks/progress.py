"""A progress bar over steps, with the loss and the images a second."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar


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

    def on_train_epoch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        """Name the bar."""
        super().on_train_epoch_start(trainer, *arguments)
        self.train_progress_bar.set_description("training")

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Values beside the bar, without their `train/`."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name.removeprefix("train/"): value for name, value in metrics.items() if name != "v_num"}
