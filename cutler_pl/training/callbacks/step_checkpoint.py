"""Checkpoints by steps, from which a killed run resumes exactly."""

import re
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import Count, check_arguments

log = get_logger(__name__)

_NAME = re.compile(r"step_(\d+)\.ckpt")


class StepCheckpoint(Checkpoint):
    """Writes `step_<number>.ckpt` every `every_n_steps` steps and at the last step, and the link `last.ckpt` to it.

    Lightning runs checkpoint callbacks after all others. Unlike `ModelCheckpoint`, the file stores no folder: a moved
    run resumes as well.

    Args:
        save_top_k: Number of latest checkpoints to keep; None for all.

    Raises:
        ConfigError: A number is below 1.
    """

    @check_arguments("callbacks.checkpoint.")
    def __init__(self, dirpath: str | Path, *, every_n_steps: Count, save_top_k: Count | None = 1) -> None:
        self.dirpath = Path(dirpath)
        self.every_n_steps = every_n_steps
        self.save_top_k = save_top_k
        self._saved_at: int | None = None

    @property
    def last_path(self) -> Path:
        """The link to the latest checkpoint."""
        return self.dirpath / "last.ckpt"

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Do not write the checkpoint just read."""
        self._saved_at = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Write at the interval and at the last step."""
        step = trainer.global_step
        if step % self.every_n_steps == 0 or step == trainer.max_steps:
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write where training ends early, by time for instance."""
        self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        step = trainer.global_step
        if step == self._saved_at or getattr(trainer, "fast_dev_run", False):
            return
        self._saved_at = step
        path = self.dirpath / f"step_{step:07d}.ckpt"
        trainer.save_checkpoint(path, weights_only=False)  # with everything a resumed run needs
        if trainer.is_global_zero:
            link = self.dirpath / ".last.ckpt.tmp"
            link.unlink(missing_ok=True)
            link.symlink_to(path.name)
            link.replace(self.last_path)
            self._remove_old(path)
            log.debug("checkpoint %s", path)
        trainer.strategy.barrier()

    def _remove_old(self, latest: Path) -> None:
        if self.save_top_k is None:
            return
        older = sorted(path for path in self.dirpath.iterdir() if _NAME.fullmatch(path.name) and path != latest)
        for path in older[: max(0, len(older) - (self.save_top_k - 1))]:
            path.unlink()
