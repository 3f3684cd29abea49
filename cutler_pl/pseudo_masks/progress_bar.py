"""The progress bar of a MaskCut run."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar

from cutler_pl.pseudo_masks.module import MaskCutModule
from cutler_pl.runtime.ranges import check_arguments


class MaskCutProgressBar(TQDMProgressBar):
    """Progress in images: how many per second, time left, masks kept and dropped, images failed."""

    predict_description = "MaskCut"

    @check_arguments("callbacks.progress.")
    def __init__(self, refresh_rate: int = 1, process_position: int = 0, leave: bool = False) -> None:
        super().__init__(refresh_rate, process_position, leave)

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar over this process's images."""
        bar = self.predict_progress_bar = self.init_predict_tqdm()
        bar.unit, bar.total = "image", trainer.datamodule.batches.num_images  # type: ignore[attr-defined]

    def on_predict_batch_start(self, *_: Any) -> None:
        """Leave the bar alone: it counts images, not batches."""

    def on_predict_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Show what has been written."""
        self._show(pl_module)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the last batch, and close."""
        self._show(pl_module)
        super().on_predict_end(trainer, pl_module)

    def _show(self, module: L.LightningModule) -> None:
        assert isinstance(module, MaskCutModule)
        totals = module.totals
        bar = self.predict_progress_bar
        bar.set_postfix({key: totals[key] for key in ("kept", "dropped", "failed")}, refresh=False)
        bar.update(totals["images"] - bar.n)
