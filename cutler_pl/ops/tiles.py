"""Windows that cover an image, neighbours overlapping."""

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from cutler_pl.runtime.ranges import Integer, Number, check_fields

Side = Annotated[int, Integer(64, 65_536)]
OverlapShare = Annotated[float, Number(min=0, max=0.9)]


@dataclass(frozen=True, kw_only=True)
class TileParams:
    """How large images are cut.

    Args:
        tile: Side of the square tiles in pixels; an image that is no larger stays whole.
        overlap: Least share of a tile's side that it has in common with the next one.
    """

    tile: Side = 1024
    overlap: OverlapShare = 0.25

    def __post_init__(self) -> None:
        check_fields(self)


class Window(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    bottom: int
    right: int

    def intersection(self, other: "Window") -> "Window":
        """The pixels of both; sides are not positive where there are none."""
        return Window(*map(max, self[:2], other[:2]), *map(min, self[2:], other[2:]))

    def is_empty(self) -> bool:
        """Whether it has no pixel."""
        return self.bottom <= self.top or self.right <= self.left


def tile_windows(size_hw: tuple[int, int], params: TileParams) -> list[Window]:
    """Windows of one size that cover an image, evenly spaced, row by row; one for an image no larger than a tile."""
    rows, columns = (_starts(length, params) for length in size_hw)
    height, width = (min(length, params.tile) for length in size_hw)
    return [Window(top, left, top + height, left + width) for top in rows for left in columns]


def _starts(length: int, params: TileParams) -> list[int]:
    rest = length - params.tile
    if rest <= 0:
        return [0]
    step = max(1, math.floor(params.tile * (1 - params.overlap)))
    gaps = math.ceil(rest / step)
    return [rest * i // gaps for i in range(gaps + 1)]
