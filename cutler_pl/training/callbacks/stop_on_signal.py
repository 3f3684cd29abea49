"""A signal ends a training at the end of the running step, with a checkpoint."""

from contextlib import ExitStack, suppress
from typing import Any

import lightning as L

from cutler_pl.runtime import signals
from cutler_pl.training.callbacks.step_checkpoint import StepCheckpoint

GRACE_SECONDS = 600.0
"""For the running step, precise batch normalisation after it, and the checkpoint; a second signal does not wait."""


class StopOnSignal(L.Callback):
    """Has the checkpoint of the running step written when a signal comes, and ends the training.

    All ranks end after the same step, whichever got the signal. A validation ends at once: the checkpoint before it is
    written already, and a resumed training makes it up.

    Args:
        checkpoint: Writes the checkpoint.
        way_on: How the user goes on; ends the sentence "stopped by SIGTERM; step 7 is saved, …".
    """

    def __init__(self, checkpoint: StepCheckpoint, *, way_on: str) -> None:
        self.checkpoint = checkpoint
        self.way_on = way_on
        self._deferred = ExitStack()
        self._stopped_by = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on a signal waits for the end of a step."""
        self._stopped_by = 0
        self._deferred.enter_context(signals.deferred(GRACE_SECONDS))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Write the checkpoint of the step in which the ranks have agreed to end."""
        self._stopped_by = getattr(pl_module, "stopped_by", 0)
        if self._stopped_by:
            self.checkpoint.save(trainer)

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """End where the metrics of the step are logged."""
        self._end(trainer, self._stopped_by)

    def on_validation_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Begin no validation."""
        self._end(trainer, self._stopped_by)

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """End a validation on this rank."""
        if trainer.state.fn == "fit":
            self._end(trainer, signals.requested() or 0)

    def on_train_end(self, trainer: L.Trainer, *_: Any) -> None:
        """End a training whose last step it was."""
        self._end(trainer, self._stopped_by)
        self._release()

    def on_exception(self, *_: Any) -> None:
        """Signals act at once again."""
        self._release()

    def _end(self, trainer: L.Trainer, signum: int) -> None:
        if signum:
            self._release()
            raise signals.StoppedBySignal(signum, f"step {trainer.global_step} is saved, {self.way_on}")

    def _release(self) -> None:
        with suppress(signals.StoppedBySignal):  # one with a better sentence follows, or the training has ended
            self._deferred.close()
