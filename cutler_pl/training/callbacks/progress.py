"""A progress bar over steps, with the loss and the images per second."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import convert_inf

from cutler_pl.runtime.ranges import check_arguments


class StepProgressBar(TQDMProgressBar):
    """Lightning's bar over all steps, as training has no epochs; values are fetched every `refresh_rate` steps."""

    train_description = "training"

    @check_arguments("callbacks.progress.")
    def __init__(self, *, refresh_rate: int = 20, process_position: int = 0, leave: bool = False) -> None:
        super().__init__(refresh_rate=refresh_rate, process_position=process_position, leave=leave)

    @property
    def total_train_batches(self) -> int | float:
        """Batches of the whole training, or of an epoch where there is no `max_steps`."""
        steps = self.trainer.max_steps
        return steps * self.trainer.accumulate_grad_batches if steps > 0 else super().total_train_batches

    def on_train_start(self, *_: Any) -> None:
        """Open no bar yet: Lightning would draw a second one a moment later."""

    def on_train_epoch_start(self, *_: Any) -> None:
        """Open no bar here: a resumed training does not come by."""

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Open the bar over the steps of the training."""
        if self._train_progress_bar is None:
            bar = self.train_progress_bar = self.init_train_tqdm()
            bar.initial = bar.n = trainer.global_step * trainer.accumulate_grad_batches
            bar.total = convert_inf(self.total_train_batches)

    def get_metrics(self, *of: Any) -> dict[str, int | str | float | dict[str, float]]:
        """Values beside the bar, without their `train/`."""
        metrics = super().get_metrics(*of)
        return {name.removeprefix("train/"): value for name, value in metrics.items() if name != "v_num"}
