"""Faulty records of one source: the first one ends the run, or all are left out and listed."""

from typing import Literal

from cutler_pl.errors import AnnotationError
from cutler_pl.runtime.logging import get_logger

OnError = Literal["raise", "skip"]
"""What to do about a faulty record: raise an `AnnotationError`, or leave it out and list it."""

_log = get_logger(__name__)


class InvalidRecords:
    """The list of what was left out of a source, and the rule whether anything may be.

    Attributes:
        where: Name of the source, for messages.
        reasons: One part of a sentence for each record left out.
    """

    def __init__(self, where: str, on_error: OnError) -> None:
        self.where, self.on_error = where, on_error
        self.reasons: list[str] = []

    def add(self, reason: str) -> None:
        """List a faulty record.

        Raises:
            AnnotationError: The rule is to raise.
        """
        if self.on_error == "raise":
            raise AnnotationError(f"{self.where}: {reason}; repair it, or read with on_error=skip to leave it out")
        self.reasons.append(reason)

    def note(self, reason: str) -> None:
        """List a record that is left out as a matter of course, whatever the rule."""
        self.reasons.append(reason)

    def report(self) -> None:
        """Log how many records were left out, and the first ten reasons."""
        if self.reasons:
            shown = "; ".join(self.reasons[:10]) + ("; …" if len(self.reasons) > 10 else "")
            _log.warning("%s: %d records left out: %s", self.where, len(self.reasons), shown)
