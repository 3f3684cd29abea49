"""Pixels of run-length masks at the size they are needed at: no mask is decoded at another size and resized.

A run begins and ends at one pixel of each column it covers. These pixels are marked in the new image, and the rows are
then combined downwards by exclusive or, within the extent of the mask.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from cutler_pl.coco.schema import RLE
from cutler_pl.runtime.numba_jit import njit_cached


def draw_masks(
    rles: Sequence[RLE], out: UInt8[np.ndarray, "masks h w"], *, flip: bool = False
) -> Bool[np.ndarray, " masks"]:
    """Decode masks, resized by nearest neighbour as Pillow computes it: the pixel under each new pixel's center.

    Args:
        rles: Compressed run lengths, of any sizes.
        out: Zeros; the first of them become the masks that have pixels at this size, as 0 and 1.
        flip: Mirror the masks left to right.

    Returns:
        Which of the given masks have pixels.

    Raises:
        ValueError: Counts do not add up to their size.
    """
    is_drawn = np.zeros(len(rles), dtype=bool)
    starts: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    drawn = 0
    for i, rle in enumerate(rles):
        size = rle["size"][0], rle["size"][1]
        if size not in starts:
            starts[size] = _new_starts(size[0], out.shape[1]), _new_starts(size[1], out.shape[2])
        counts = rle["counts"]
        code = np.frombuffer(counts.encode("latin-1") if isinstance(counts, str) else counts, dtype=np.uint8)
        found = njit_cached(_draw)(code, *starts[size], flip, out[drawn])
        if found < 0:
            raise ValueError(f"run lengths do not add up to their size {size[0]}×{size[1]}")
        is_drawn[i] = found
        drawn += found
    return is_drawn


def _new_starts(old: int, new: int) -> Int64[np.ndarray, " old_and_end"]:
    """The first of `new` pixels whose center lies in or behind each of `old` pixels, and behind the last.

    Pillow adds up the steps from center to center, which decides for centers on an edge.
    """
    if old == new:
        return np.arange(old + 1)
    steps = np.full(new, old / new)
    steps[0] /= 2
    under_center = np.cumsum(steps).astype(np.int64)
    return np.searchsorted(under_center, np.arange(old + 1)).astype(np.int64)


def _draw(
    code: UInt8[np.ndarray, " characters"],
    new_rows: Int64[np.ndarray, " height_and_end"],
    new_columns: Int64[np.ndarray, " width_and_end"],
    flip: bool,
    mask: UInt8[np.ndarray, "h w"],
) -> int:
    """Draw onto zeros; 1 where there is a pixel, 0 where there is none, -1 for wrong counts.

    COCO's code: a character holds 5 bits from '0' on, bit 6 says that more follow, the last one's bit 5 is the sign;
    from the fourth count on, the difference to the count two before is stored.
    """
    height, width = len(new_rows) - 1, len(new_columns) - 1
    h, w = mask.shape
    left, top, right, bottom = w, h, 0, 0
    position = column = row = index = last = before = 0
    while position < len(code):
        value = shift = 0
        more = True
        while more:
            bits = np.int64(code[position]) - 48 if position < len(code) else np.int64(-1)
            if bits < 0 or bits > 63 or shift > 30:
                return -1
            value += int(bits & 31) << shift
            shift += 5
            more = bits & 32 != 0
            if not more and bits & 16:
                value -= 1 << shift
            position += 1
        if index > 2:
            value += before
        if value < 0 or value > (width - column) * height - row:
            return -1
        if index % 2 == 0:
            row += value
            column, row = column + row // height, row % height
        else:
            rest = value
            while rest > 0:
                end = min(row + rest, height)
                first, behind = new_rows[row], new_rows[end]
                if behind > first and new_columns[column + 1] > new_columns[column]:
                    low, high = new_columns[column], new_columns[column + 1]
                    if flip:
                        low, high = w - high, w - low
                    for x in range(low, high):
                        mask[first, x] ^= 1
                        if behind < h:
                            mask[behind, x] ^= 1
                    left, right = min(left, low), max(right, high)
                    top, bottom = min(top, first), max(bottom, behind)
                rest -= end - row
                row = end
                if row == height:
                    column, row = column + 1, 0
        before, last = last, value
        index += 1
    if column != width:
        return -1
    for y in range(top + 1, min(bottom + 1, h)):
        above, here = mask[y - 1], mask[y]
        for x in range(left, right):
            here[x] ^= above[x]
    return 1 if right > left else 0
