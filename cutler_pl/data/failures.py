"""The record of images that cannot be read."""

from collections.abc import Iterable
from typing import NamedTuple

from cutler_pl.runtime.logging import get_logger

_log = get_logger(__name__)


class Failure(NamedTuple):
    """An image that could not be used, and why."""

    file: str
    reason: str


class Failures(list[Failure]):
    """Record of unusable images; each file is logged once."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[str] = set()

    def add(self, failures: Iterable[Failure]) -> None:
        """Record failures that are not known yet."""
        for failure in failures:
            if failure.file not in self._known:
                self._known.add(failure.file)
                self.append(failure)
                _log.warning("left out an image: %s", failure.reason)
