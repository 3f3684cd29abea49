"""Bounds of the numbers in COCO files: pycocotools, hotcoco and compiled kernels get nothing beyond them.

pycocotools stores run lengths in 32 bits, and rasterises a polygon in about 80 bytes per pixel of its outline.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np

MAX_ID = 2**63 - 1
"""Largest absolute value of ids."""
MAX_PIXELS = 2**31 - 1
"""Largest height times width of images and masks."""
REACH = 10
"""How far coordinates may lie outside their image, in lengths of its longer side."""

_MAX_OUTLINE = 2**22  # pixels, of one object at the size of its image
_MAX_RASTER_OUTLINE = 2**24  # pixels, of one polygon at any size
_MAX_COORDINATE = 4e8  # times 5, which is pycocotools' subpixel grid, it fits 32 bits


def is_near(start: int | float, end: int | float, longer_side: int) -> bool:
    """Whether an interval along one axis of an image lies within `REACH`."""
    return bool(-REACH * longer_side <= start and end <= (REACH + 1) * longer_side)


def polygons_error(polygons: Sequence[Sequence[Any]], height: int, width: int) -> str | None:
    """Error of well-formed polygons that lie too far from their image or have too long an outline."""
    longer_side = max(height, width)
    rough = 0.0
    for polygon in polygons:
        low, high = min(polygon), max(polygon)
        if not is_near(low, high, longer_side):
            far = f"the coordinate {low if low < -REACH * longer_side else high:g}"
            return f"has a polygon with {far}, far outside its image of {height}×{width} pixels (height×width)"
        rough += len(polygon) // 2 * (high - low)
    limit = min(_MAX_OUTLINE, 2 * (height + 1) * (width + 1) + 4 * REACH * longer_side)
    if rough <= limit or (outline := sum(map(outline_length, polygons))) <= limit:
        return None
    return f"has polygons whose outlines are {outline:,.0f} pixels long; {limit:,} is the most in an image of its size"


def can_rasterise(polygons: Sequence[Sequence[Any]]) -> bool:
    """Whether pycocotools can rasterise polygons without overflow and in bounded memory."""
    for polygon in polygons:
        low, high = min(polygon), max(polygon)
        if not (isfinite(sum(polygon)) and low >= -_MAX_COORDINATE and high <= _MAX_COORDINATE):
            return False
        if len(polygon) // 2 * (high - low) > _MAX_RASTER_OUTLINE and outline_length(polygon) > _MAX_RASTER_OUTLINE:
            return False
    return True


def outline_length(polygon: Sequence[Any]) -> float:
    """Length of a closed outline in steps from pixel to pixel, diagonal ones included."""
    xy = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    return float(np.abs(xy - np.roll(xy, 1, axis=0)).max(axis=1).sum())
