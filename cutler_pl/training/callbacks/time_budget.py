"""A training that takes a given time: it ends when the time is used, with the learning rate stepped down before."""

import time
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Annotated, Any, cast

import lightning as L
from torch.optim.lr_scheduler import LambdaLR

from cutler_pl.runtime.files import write_text
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import Number, Share, check_arguments
from cutler_pl.training.accumulation import ends_step
from cutler_pl.training.callbacks.precise_bn import PreciseBatchNorm

log = get_logger(__name__)

_NOTE_SECONDS = 2.0
_FORWARD = 0.9  # time of a batch of precise batch normalisation in steps, loading included
_CHECKPOINT_SECONDS = 1.0


class TimeBudget(L.Callback):
    """Ends a training after so many seconds, counted from the construction of the callback or as `count_from` says.

    The learning rate is multiplied by `gamma` once the share `decay_at` of the time, or of `trainer.max_steps`, has
    passed, whichever comes first. Precise batch normalisation and the last checkpoint belong to the time. Time used is
    noted in a file, so that a training that was interrupted does not take longer in all; rank 0 decides for all ranks.

    Args:
        seconds: Time for the training.
        path: File that notes the time used.
        decay_at: Share after which the learning rate steps down.
        gamma: Factor of the step.
    """

    @check_arguments("callbacks.time_budget.")
    def __init__(
        self,
        *,
        seconds: Annotated[float, Number(above=0, max=1e9)],
        path: str | Path,
        decay_at: Share = 0.8,
        gamma: Annotated[float, Number(above=0, max=1)] = 0.1,
    ) -> None:
        self.seconds, self.decay_at, self.gamma = seconds, decay_at, gamma
        self.path = Path(path)
        self._start = time.monotonic()
        self._used_before = 0.0
        self._decayed = False
        self._noted = 0.0
        self._steps: tuple[float, int] | None = None

    def count_from(self, start: float) -> None:
        """Count from a value of `time.monotonic()` before."""
        self._start = start

    @property
    def used(self) -> float:
        """Seconds so far, those of interrupted runs included."""
        return self._used_before + time.monotonic() - self._start

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the time of interrupted runs."""
        self._used_before = max(self._used_before, _noted_seconds(self.path))
        self._decayed = False
        self._steps = None
        self._share(trainer)
        log.info("at most %.0f s for this training, %.0f of them are used", self.seconds, self.used)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Step the learning rate down, or end."""
        if not ends_step(trainer, batch_idx):
            return
        now = time.monotonic()
        if self._steps is None:
            self._steps = now, trainer.global_step
        since, first = self._steps
        seconds_per_step = (now - since) / max(1, trainer.global_step - first)
        self._note(trainer)
        rest = self._share(trainer) - self._end_seconds(trainer, seconds_per_step)
        if rest <= seconds_per_step and not trainer.should_stop:
            log.info(
                "step %d: %.0f of %.0f s are used, the training ends", trainer.global_step, self.used, self.seconds
            )
            trainer.should_stop = True

    def state_dict(self) -> dict[str, float]:
        """The time used, where the file of it is lost."""
        return {"used": self.used}

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        """Go on with the time used."""
        self._used_before = max(self._used_before, float(state_dict.get("used", 0.0)))

    def _share(self, trainer: L.Trainer) -> float:
        """Step the learning rate down where that is due; the seconds that are left, on all ranks."""
        used = self.used
        if trainer.world_size > 1:
            used = trainer.strategy.broadcast(used)
        share = max(used / self.seconds, trainer.global_step / trainer.max_steps if trainer.max_steps > 0 else 0.0)
        if share >= self.decay_at and not self._decayed:
            self._decay(trainer)
        return self.seconds - used

    def _note(self, trainer: L.Trainer) -> None:
        if trainer.is_global_zero and self.used - self._noted > _NOTE_SECONDS:
            self._noted = self.used
            write_text(self.path, f"{self._noted:.1f}\n")

    def _end_seconds(self, trainer: L.Trainer, seconds_per_step: float) -> float:
        """What follows the last step."""
        callbacks: list[L.Callback] = cast(Any, trainer).callbacks
        measured = [one.batches_at(trainer.global_step) for one in callbacks if isinstance(one, PreciseBatchNorm)]
        batches = sum(measured) + len(measured)  # the loader starts anew
        return batches * _FORWARD * seconds_per_step + min(_CHECKPOINT_SECONDS, 0.02 * self.seconds)

    def _decay(self, trainer: L.Trainer) -> None:
        self._decayed = True
        for config in trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, LambdaLR):
                config.scheduler.base_lrs = [rate * self.gamma for rate in config.scheduler.base_lrs]
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= self.gamma
        log.info("step %d: learning rate times %g for the rest of the training", trainer.global_step, self.gamma)


def seconds_left(trainer: L.Trainer) -> float:
    """The time left to a training; infinity without a budget."""
    callbacks: list[L.Callback] = cast(Any, trainer).callbacks
    return min((max(0.0, one.seconds - one.used) for one in callbacks if isinstance(one, TimeBudget)), default=inf)


def _noted_seconds(path: Path) -> float:
    try:
        return float(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0.0
