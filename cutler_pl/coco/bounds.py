"""Bounds of the numbers in COCO files: pycocotools, hotcoco and compiled kernels get nothing beyond them.

pycocotools stores run lengths in 32 bits, and rasterises a polygon in about 80 bytes per pixel of its outline.
"""

from collections.abc import Sequence
from math import ceil, isfinite
from typing import Any, NamedTuple

import numpy as np

from cutler_pl.runtime.limits import OUTLINE, REACH

MAX_ID = 2**63 - 1
"""Largest absolute value of ids."""
MAX_PIXELS = 2**31 - 1
"""Largest height times width of images and masks, which no option raises."""

_MAX_RASTER_OUTLINE = 2**24  # pixels, of one polygon at any size
MAX_COORDINATE = 4e8
"""Of a polygon, on either side; times 5, which is pycocotools' subpixel grid, it fits 32 bits."""


class Bounds(NamedTuple):
    """The limits of coordinates that options set; read once for many records."""

    reach: int
    """How far coordinates may lie outside their image, in lengths of its longer side."""
    outline: int | None
    """Longest outline of one object in pixels; None where its image decides."""

    @classmethod
    def current(cls) -> "Bounds":
        """The limits now."""
        return cls(REACH.value(), OUTLINE.value() if OUTLINE.is_set else None)

    def contain(self, start: int | float, end: int | float, longer_side: int) -> bool:
        """Whether an interval along one axis lies near enough to its image."""
        return bool(-self.reach * longer_side <= start and end <= (self.reach + 1) * longer_side)

    def longest_outline(self, height: int, width: int) -> int:
        """Longest outline of an object: all pixels of a small image twice, unless the option says otherwise."""
        if self.outline is not None:
            return self.outline
        return min(OUTLINE.default, 2 * (height + 1) * (width + 1) + 4 * self.reach * max(height, width))


def far_error(what: str, height: int, width: int) -> str:
    """Error of something that lies outside `Bounds`."""
    return f"{what}, far outside its image of {height}×{width} pixels (height×width); {REACH.way_out()}"


def polygons_error(polygons: Sequence[Sequence[Any]], height: int, width: int, bounds: Bounds) -> str | None:
    """Error of well-formed polygons that lie too far from their image or have too long an outline."""
    longer_side = max(height, width)
    rough = 0.0
    for polygon in polygons:
        low, high = min(polygon), max(polygon)
        if not bounds.contain(low, high, longer_side) or max(-low, high) > MAX_COORDINATE:
            coordinate = low if -low > high else high
            return far_error(f"has a polygon with the coordinate {coordinate:g}", height, width)
        rough += len(polygon) // 2 * (high - low)
    limit = bounds.longest_outline(height, width)
    if rough <= limit or (outline := sum(map(outline_length, polygons))) <= limit:
        return None
    return (
        f"has polygons whose outlines are {outline:,.0f} pixels long; {limit:,} is the most in an image of its size; "
        f"{OUTLINE.way_out(ceil(outline))}"
    )


def can_rasterise(polygons: Sequence[Sequence[Any]]) -> bool:
    """Whether pycocotools can rasterise polygons without overflow and in bounded memory."""
    for polygon in polygons:
        low, high = min(polygon), max(polygon)
        rough = len(polygon) // 2 * (high - low)
        if not (isfinite(sum(polygon)) and low >= -MAX_COORDINATE and high <= MAX_COORDINATE):
            return False
        if rough > _MAX_RASTER_OUTLINE and outline_length(polygon) > max(_MAX_RASTER_OUTLINE, OUTLINE.value()):
            return False
    return True


def outline_length(polygon: Sequence[Any]) -> float:
    """Length of a closed outline in steps from pixel to pixel, diagonal ones included."""
    xy = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    return float(np.abs(xy - np.roll(xy, 1, axis=0)).max(axis=1).sum())
