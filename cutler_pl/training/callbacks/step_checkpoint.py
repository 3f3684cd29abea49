"""Checkpoints by steps, from which a killed run resumes exactly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import Count, check_arguments
from cutler_pl.training.checkpoint_folder import LOGGED, VALIDATED, CheckpointFolder
from cutler_pl.training.loggers import trackers
from cutler_pl.training.missed_validation import validate_within_training, validation_is_due

log = get_logger(__name__)


class StepCheckpoint(Checkpoint):
    """Writes `step_<number>.ckpt` every `every_n_steps` steps and at the last step, and the link `last.ckpt` to it.

    Lightning runs checkpoint callbacks after all others. Unlike `ModelCheckpoint`, the file stores no folder: a moved
    run resumes as well. Where a validation follows, a checkpoint is written before it, and a resumed training makes up
    one that was interrupted; likewise the metrics of its step are logged after it, and again on resume. Where steps
    were dropped since the last checkpoint, older ones stay. A training that goes on at an earlier step than the
    newest of the folder moves the later ones into `set_aside/`. Trackers get the last checkpoint of a training that has
    ended, or all of them, as their `log_model` says.

    Args:
        save_top_k: Number of latest checkpoints to keep; None for all.

    Raises:
        ConfigError: A number is below 1.
    """

    @check_arguments("callbacks.checkpoint.")
    def __init__(self, dirpath: str | Path, *, every_n_steps: Count, save_top_k: Count | None = 1) -> None:
        self.folder = CheckpointFolder(dirpath)
        self.every_n_steps = every_n_steps
        self.save_top_k = save_top_k
        self._saved_at: int | None = None
        self._validates = False  # after the step of the checkpoint
        self._row: dict[str, Any] | None = None  # what is logged after it
        self._dropped = 0

    @property
    def last_path(self) -> Path:
        """The link to the latest checkpoint."""
        return self.folder.last

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Do not write the checkpoint just read."""
        self._saved_at = trainer.global_step
        self._dropped = _dropped(pl_module)
        if trainer.is_global_zero:
            self.folder.prepare(trainer.global_step)
        if self.folder.noted(LOGGED) != trainer.global_step:
            _log_row(trainer, self._row)
        self._row = None
        if self._validates and self.folder.noted(VALIDATED) != trainer.global_step:
            log.info("the validation of step %d was interrupted and is made up", trainer.global_step)
            validate_within_training(trainer)

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Note that the metrics of the step before are logged."""
        self._note_logged(trainer)

    def on_validation_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Note that the metrics of the step are logged."""
        self._note_logged(trainer)

    def _note_logged(self, trainer: L.Trainer) -> None:
        if self._row is not None and trainer.is_global_zero and self._saved_at == trainer.global_step:
            self.folder.note(LOGGED, trainer.global_step)
        self._row = None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Write at the interval, at the last step, and before a validation."""
        step = trainer.global_step
        if trainer.should_stop and step != trainer.max_steps:
            return  # `on_train_end` writes, once the statistics of a step that ends early are measured
        if step % self.every_n_steps == 0 or step == trainer.max_steps or validation_is_due(trainer):
            self.save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note that the step is validated."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            self.folder.note(VALIDATED, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Whether a validation follows the checkpoint, and the metrics that are logged after it."""
        return {"validates": self._validates, "row": self._row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Know what followed."""
        self._validates, self._row = state_dict["validates"], state_dict.get("row")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write where training ends early, by time for instance; give the last checkpoint to the trackers."""
        self._note_logged(trainer)
        self.save(trainer)
        if trainer.is_global_zero and self.folder.last.exists():
            for tracker in trackers(trainer.loggers):
                if tracker.log_model is True:
                    tracker.track_checkpoint(self.folder.last.resolve())

    @classmethod
    def misses_validation(cls, content: Mapping[str, Any], folder: CheckpointFolder) -> bool:
        """Whether a validation was to follow a checkpoint, and has not ended."""
        state = content.get("callbacks", {}).get(cls.__qualname__, {})
        return bool(state.get("validates")) and folder.noted(VALIDATED) != content["global_step"]

    @classmethod
    def log_row(cls, trainer: L.Trainer, content: Mapping[str, Any], folder: CheckpointFolder) -> None:
        """Log the metrics that were to be logged after a checkpoint, and were not."""
        if folder.noted(LOGGED) != content["global_step"]:
            _log_row(trainer, content.get("callbacks", {}).get(cls.__qualname__, {}).get("row"))

    def save(self, trainer: L.Trainer) -> None:
        """Write the checkpoint of the step that has just ended, once; all ranks call it in the same step."""
        step = trainer.global_step
        if step == self._saved_at or getattr(trainer, "fast_dev_run", False):
            return
        self._saved_at = step
        self._validates, self._row = validation_is_due(trainer), _row_to_log(trainer)
        path = self.folder.at(step)
        trainer.save_checkpoint(path, weights_only=False)  # with everything a resumed run needs
        dropped = _dropped(trainer.lightning_module)
        if trainer.is_global_zero:
            self.folder.link_last(path)
            if self.save_top_k is not None and dropped == self._dropped:
                self.folder.remove_old(keep=self.save_top_k, newest=path)
            log.debug("checkpoint %s", path)
            for tracker in trackers(trainer.loggers):
                if tracker.log_model == "all":
                    tracker.track_checkpoint(path)
        self._dropped = dropped
        trainer.strategy.barrier()


def _row_to_log(trainer: L.Trainer) -> dict[str, Any] | None:
    """The metrics that Lightning logs once the callbacks of a step have ended; None where none are due."""
    connector = trainer._logger_connector
    if not trainer.loggers or trainer._results is None or not connector.should_update_logs:
        return None
    metrics = {name: float(value) for name, value in connector.metrics["log"].items()}
    step = trainer.fit_loop.epoch_loop._batches_that_stepped
    return {"step": step, "metrics": {**metrics, "epoch": trainer.current_epoch}}


def _log_row(trainer: L.Trainer, row: Mapping[str, Any] | None) -> None:
    if row is not None:
        trainer._logger_connector.log_metrics(row["metrics"], step=row["step"])


def _dropped(pl_module: L.LightningModule) -> int:
    return int(getattr(pl_module, "nonfinite_steps", 0))
