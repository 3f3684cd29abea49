"""Pillow's bilinear filter on the CPU, compiled: the same pixels several times faster, as planes and flipped at once.

Pillow's integers: weights in units of 2^-22, sums in 32 bits, rounded to 8 bits after the columns and after the rows.
"""

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from cutler_pl.runtime.numba_jit import njit_cached

_BITS = 22
UNIT = 1 << _BITS
"""What a weight of 1 is as an integer."""
_HALF = UNIT // 2


def resize_bilinear(
    image: UInt8[np.ndarray, "height width 3"], out: UInt8[np.ndarray, "3 h w"], *, flip: bool = False
) -> None:
    """Fill `out` with the resized image, columns before rows.

    Args:
        image: RGB in any memory layout.
        out: The new planes.
        flip: Mirror the result left to right.
    """
    height, width = out.shape[1:]
    first_column, column_weights = _taps(image.shape[1], width)
    if flip:
        first_column, column_weights = first_column[::-1].copy(), column_weights[::-1].copy()
    columns_done = np.empty((3, image.shape[0], width), dtype=np.uint8)
    njit_cached(_resize_columns)(image, first_column, column_weights, columns_done)
    njit_cached(_resize_rows)(columns_done, *_taps(image.shape[0], height), out)


def _taps(old: int, new: int) -> tuple[Int64[np.ndarray, " new"], Int32[np.ndarray, "new taps"]]:
    """The first of `old` pixels under each of `new`, and the weights from there on: a triangle as wide as the scale."""
    scale = old / new
    support = max(scale, 1.0)
    centers = (np.arange(new) + 0.5) * scale
    taps = min(2 * int(np.ceil(support)) + 1 if support > 1 else 2, old)
    first = np.floor(centers - support + 0.5).astype(np.int64).clip(0, old - taps)
    distances = first[:, None] + np.arange(taps) - centers[:, None] + 0.5
    weights = (1 - np.abs(distances * (1 / support))).clip(0)
    sums = np.cumsum(weights, axis=1)[:, -1:]  # one after the other, as Pillow adds
    return first, np.floor(weights / sums * UNIT + 0.5).astype(np.int32)


def _resize_columns(
    image: UInt8[np.ndarray, "height width 3"],
    first: Int64[np.ndarray, " w"],
    weights: Int32[np.ndarray, "w taps"],
    out: UInt8[np.ndarray, "3 height w"],
) -> None:
    """Fill `out`; two taps, which enlarging has, apart, since this loop takes most of the time."""
    taps = weights.shape[1]
    for y in range(len(image)):
        row = image[y]
        for x in range(len(first)):
            i = first[x]
            if taps == 2:
                left, right = weights[x, 0], weights[x, 1]
                out[0, y, x] = (row[i, 0] * left + row[i + 1, 0] * right + _HALF) >> _BITS
                out[1, y, x] = (row[i, 1] * left + row[i + 1, 1] * right + _HALF) >> _BITS
                out[2, y, x] = (row[i, 2] * left + row[i + 1, 2] * right + _HALF) >> _BITS
            else:
                red = green = blue = _HALF
                for tap in range(taps):
                    weight = weights[x, tap]
                    red += row[i + tap, 0] * weight
                    green += row[i + tap, 1] * weight
                    blue += row[i + tap, 2] * weight
                out[0, y, x] = red >> _BITS
                out[1, y, x] = green >> _BITS
                out[2, y, x] = blue >> _BITS


def _resize_rows(
    planes: UInt8[np.ndarray, "3 height width"],
    first: Int64[np.ndarray, " h"],
    weights: Int32[np.ndarray, "h taps"],
    out: UInt8[np.ndarray, "3 h width"],
) -> None:
    """Fill `out`, with loops along the rows that the compiler turns into vector instructions."""
    taps, width = weights.shape[1], planes.shape[2]
    sums = np.empty(width, dtype=np.int32)
    for plane in range(3):
        for y in range(len(first)):
            row, i = out[plane, y], first[y]
            if taps == 2:
                above, below = planes[plane, i], planes[plane, i + 1]
                upper, lower = weights[y, 0], weights[y, 1]
                for x in range(width):
                    row[x] = (above[x] * upper + below[x] * lower + _HALF) >> _BITS
            else:
                sums[:] = _HALF
                for tap in range(taps):
                    source, weight = planes[plane, i + tap], weights[y, tap]
                    for x in range(width):
                        sums[x] += source[x] * weight
                for x in range(width):
                    row[x] = sums[x] >> _BITS
