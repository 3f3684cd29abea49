"""Durations as people write them: `90s`, `8min`, `2h`."""

import re
from typing import Any

from cutler_pl.runtime.ranges import Rule

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?) ?(s|min|h)")
_LONGEST = 366 * 86_400.0


class Duration(Rule):
    """A length of time with its unit."""

    expected = "a time with its unit, such as 90s, 8min or 2h"

    def read(self, value: Any) -> str:
        """The text."""
        if not isinstance(value, str) or not (found := _WRITTEN.fullmatch(value)):
            raise ValueError(value)
        if not 0 < float(found[1]) * _SECONDS[found[2]] <= _LONGEST:
            raise ValueError(value)
        return value


def seconds_of(duration: str) -> float:
    """Seconds of a text that `Duration` accepts."""
    found = _WRITTEN.fullmatch(duration)
    if found is None:
        raise ValueError(f"{duration!r} is no duration")
    return float(found[1]) * _SECONDS[found[2]]


def format_duration(seconds: float) -> str:
    """About so long, as `0.4 s`, `75 s`, `8 min` or `2.0 h`."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
