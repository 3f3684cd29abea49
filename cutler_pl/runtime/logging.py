"""Loggers: information from rank 0 only, warnings and errors from every rank."""

import logging
import os
import re
import sys
import warnings
from contextlib import nullcontext
from typing import Any, TextIO

from cutler_pl.runtime.distributed import global_rank

ROOT_NAME = "cutler_pl"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")

# Warnings of Lightning about what is intended here; users cannot act on them.
_IGNORED_WARNINGS = (
    r"You defined a `validation_step` but have no `val_dataloader`",
    r"`isinstance\(treespec, LeafSpec\)`",
)


class _RankZeroFilter(logging.Filter):
    """Lets warnings and errors of every rank through, information of rank 0 only."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or global_rank() == 0


class _PrintableFormatter(logging.Formatter):
    """Names of files reach a terminal without its control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the present `sys.stderr`, which tests replace for a while; in a terminal above progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        tqdm = sys.modules.get("tqdm")
        with tqdm.tqdm.external_write_mode(sys.stderr) if tqdm and is_terminal(sys.stderr) else nullcontext():
            super().emit(record)


def is_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal that can show a progress bar: one that knows its width."""
    try:
        return bool(stream.isatty()) and os.get_terminal_size(stream.fileno()).columns > 0
    except (AttributeError, OSError, ValueError):
        return False


def printable(text: str) -> str:
    """A text with its control characters but line ends escaped, as in `\\x1b`."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def get_logger(name: str) -> logging.Logger:
    """Logger of a module; `name` is its `__name__`."""
    logger = logging.getLogger(name)
    if not any(isinstance(f, _RankZeroFilter) for f in logger.filters):
        logger.addFilter(_RankZeroFilter())
    return logger


def configure_logging(level: int = logging.INFO) -> None:
    """Send this package's log to standard error, one unwrapped line per event (paths stay whole). Idempotent."""
    root = logging.getLogger(ROOT_NAME)
    root.setLevel(level)
    root.propagate = False
    if not any(isinstance(handler, _StderrHandler) for handler in root.handlers):
        handler = _StderrHandler()
        handler.setFormatter(_PrintableFormatter("%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S"))
        root.addHandler(handler)
        # hides the list of hardware and advertisements; warnings stay
        logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
        for message in _IGNORED_WARNINGS:
            warnings.filterwarnings("ignore", message)
