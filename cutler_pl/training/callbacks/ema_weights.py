"""Exponential moving average of the weights, which validation and checkpoints of a detector then have.

Source: Polyak and Juditsky, 1992; decay as in Tarvainen and Valpola, 2017. The paper trains without it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn

from cutler_pl.runtime.ranges import Share, check_arguments


class EMAWeights(EMAWeightAveraging):
    """Averages weights and running statistics after every step.

    A checkpoint's `state_dict` holds the average, `current_model_state` the weights that the training goes on with.
    Precise batch normalisation measures the statistics of the average.

    Args:
        decay: Share of the average that a step keeps.
    """

    @check_arguments("callbacks.ema.")
    def __init__(self, *, decay: Share = 0.999) -> None:
        super().__init__(decay=decay)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Move the average to the device of the training: Lightning makes it before the module is there."""
        if self._average_model is not None:
            self._average_model.to(pl_module.device)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the weights: the checkpoint has the average, and a training may go on."""

    @property
    def average(self) -> nn.Module | None:
        """The detector with the averaged weights, on the device of the training; None before it starts."""
        return None if self._average_model is None else cast(nn.Module, self._average_model.module.model)

    @contextmanager
    def swapped_in(self, pl_module: L.LightningModule) -> Iterator[None]:
        """Inside, the module has the averaged weights; what is measured there belongs to the average."""
        self._swap_models(pl_module)
        try:
            yield
        finally:
            self._swap_models(pl_module)


def averaging(trainer: L.Trainer) -> EMAWeights | None:
    """The callback of a run that averages its weights."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, EMAWeights)), None)


@contextmanager
def averaged_weights(trainer: L.Trainer, pl_module: L.LightningModule) -> Iterator[None]:
    """Inside, the module has the averaged weights of a run that averages."""
    average = averaging(trainer)
    if average is None or average.average is None:
        yield
        return
    with average.swapped_in(pl_module):
        yield
