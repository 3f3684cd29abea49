"""Values of τ around the present one; where a generator has several, all are moved together."""

from collections.abc import Sequence

from cutler_pl.errors import ConfigError

_DIGITS = 4
Tau = float | Sequence[float]


class Search:
    """The values of τ that are tried.

    Args:
        setting: Name of the setting, for messages.
        present: Its value: a number, or several.
        values: Values to try, or what is added to each of several numbers; None for some around the present one.

    Attributes:
        values: In rising order, the present one among them.
        present: The present one.
        is_list: Whether the setting is several numbers, to which the values are added.

    Raises:
        ConfigError: A value is outside 0 to 1.
    """

    def __init__(self, setting: str, present: Tau, values: Sequence[float] | None = None) -> None:
        self._taus = (present,) if isinstance(present, int | float) else tuple(present)
        self.is_list = not isinstance(present, int | float)
        self.setting = setting
        self.present = 0.0 if self.is_list else float(self._taus[0])
        tried = {*(self._around() if values is None else values), self.present}
        self.values = sorted({round(float(value), _DIGITS) for value in tried})
        for value in self.values:
            if not all(0 <= tau < 1 for tau in self._moved(value)):
                raise ConfigError(f"values=: {value:g} gives {setting}={self.text(value)}; τ is from 0 to below 1")

    def at(self, value: float) -> Tau:
        """The setting at one of the values."""
        moved = self._moved(value)
        return moved if self.is_list else moved[0]

    def text(self, value: float) -> str:
        """The setting at one of the values, as it is written."""
        texts = [f"{tau:g}" for tau in self._moved(value)]
        return f"[{', '.join(texts)}]" if self.is_list else texts[0]

    def near(self, value: float) -> float:
        """A value beside one, by a quarter of the way of the nearest τ to its end, as in the quality report."""
        moved = self._moved(value)
        room = min(*moved, *(1 - tau for tau in moved)) / 4
        return round(value + room, _DIGITS)

    def _moved(self, value: float) -> list[float]:
        by = value if self.is_list else value - self._taus[0]
        return [round(tau + by, _DIGITS) for tau in self._taus]

    def _around(self) -> list[float]:
        """Three steps of a quarter of the shorter way to either end, and a half and a quarter of the longer one."""
        down, up = min(self._taus), 1 - max(self._taus)
        step, far = min(down, up) / 4, max(down, up) / 4
        sign = 1 if up > down else -1
        offsets = [*(step * n for n in (-3, -2, -1, 1, 2, 3)), sign * far, 2 * sign * far]
        return [self.present + offset for offset in offsets]
