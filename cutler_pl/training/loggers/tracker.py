"""What a tracker is given beside metrics and settings: figures, tables, the run's record, checkpoints."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

from lightning.pytorch.loggers import Logger

from cutler_pl.errors import TrackerError

LogModel = bool | Literal["all"]
"""Which checkpoints a tracker gets, as Lightning's loggers say it: the last one, none, or `"all"`."""


@dataclass(frozen=True)
class Table:
    """Rows of names and numbers; `name` says of what, such as `validation`."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float]]


@runtime_checkable
class Tracker(Protocol):
    """A logger of Lightning that keeps more than metrics; all calls are made on rank 0."""

    log_model: LogModel

    def track_figure(self, path: Path, *, step: int) -> None:
        """Keep an image file as `samples/<stem of the file>`."""

    def track_table(self, table: Table, *, step: int) -> None:
        """Keep a table."""

    def track_run(self, folder: Path, metadata: dict[str, Any]) -> None:
        """Keep `config.yaml` and `run.json` of a folder, and the commit."""

    def track_checkpoint(self, path: Path) -> None:
        """Keep a checkpoint."""


def trackers(loggers: Iterable[Logger]) -> list[Tracker]:
    """Those of a Trainer's loggers that are trackers; others, such as the CSV file, get metrics alone."""
    return [logger for logger in loggers if isinstance(logger, Tracker)]


def start_loggers(loggers: Sequence[Logger]) -> None:
    """Begin the runs of all loggers; where one cannot, those begun before are marked as failed.

    Raises:
        TrackerError: There is no login, no connection, or no such run.
    """
    for place, logger in enumerate(loggers):
        try:
            _ = cast(Any, logger).experiment
        except TrackerError:
            for begun in loggers[:place]:
                begun.finalize("failed")
            raise
