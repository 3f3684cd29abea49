"""Loggers that speak on rank 0 only, so that 64 processes do not say the same thing 64 times."""

import logging
import sys
import warnings
from typing import TextIO

from cutler_pl.runtime.distributed import global_rank

ROOT_NAME = "cutler_pl"

# Beginnings of warnings that Lightning gives about what is meant here; people cannot act on them.
_MEANT = (r"You defined a `validation_step` but have no `val_dataloader`", r"`isinstance\(treespec, LeafSpec\)`")


class _RankZeroFilter(logging.Filter):
    """Lets warnings and errors of every rank through, information of rank 0 only."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or global_rank() == 0


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the time of the event: progress bars and tests exchange it for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def get_logger(name: str) -> logging.Logger:
    """Logger of a module; `name` is its `__name__`."""
    logger = logging.getLogger(name)
    if not any(isinstance(f, _RankZeroFilter) for f in logger.filters):
        logger.addFilter(_RankZeroFilter())
    return logger


def configure_logging(level: int = logging.INFO) -> None:
    """Send this package's log to standard error, one unwrapped line an event (paths stay whole). Idempotent."""
    root = logging.getLogger(ROOT_NAME)
    root.setLevel(level)
    root.propagate = False
    if not any(isinstance(handler, _StderrHandler) for handler in root.handlers):
        handler = _StderrHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S"))
        root.addHandler(handler)
        # which hardware there is, and advertisement; its warnings stay
        logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
        for message in _MEANT:
            warnings.filterwarnings("ignore", message)
