"""Label Studio's run lengths of a brush: values of four channels, row by row, packed in bits.

The stream, most significant bit first: the number of values (32 bits), the bits of a value less one (5), the bits of
each of four sizes of counts less one (4 each); then runs, each a 1, the number of a size (2), the count less one, and
the value. All four channels of a pixel are 255 in the mask and 0 outside.
"""

import numpy as np
from jaxtyping import UInt8

from cutler_pl.coco.outlines import Crop
from cutler_pl.runtime.numba_jit import njit_cached

_SIZES = np.array([3, 4, 8, 16])
"""Bits of the counts; a longer run is several."""


def encode_brush(crop: Crop, height: int, width: int) -> list[int]:
    """Bytes of a mask in its whole image."""
    packed: list[int] = njit_cached(_pack)(crop.pixels, crop.left, crop.top, height, width, _SIZES).tolist()
    return packed


def _pack(
    pixels: np.ndarray, left: int, top: int, height: int, width: int, sizes: np.ndarray
) -> UInt8[np.ndarray, " bytes"]:
    """Runs are found by their ends: where the mask begins or ends within the rows of its extent, in reading order."""
    rows, columns = pixels.shape
    ends = np.empty(rows * (columns + 1) + 1, dtype=np.int64)
    num_ends = 0
    for y in range(1, rows - 1):
        for x in range(1, columns):
            if pixels[y, x] != pixels[y, x - 1]:
                end = (top + y) * width + left + x
                if num_ends and ends[num_ends - 1] == end:  # it goes on from the last pixel of a row
                    num_ends -= 1
                else:
                    ends[num_ends] = end
                    num_ends += 1
    ends[num_ends] = height * width
    num_ends += 1
    longest = 1 << sizes[-1]
    fields = np.empty((6 + 3 * (num_ends + 4 * height * width // longest + 1), 2), dtype=np.int64)  # value, bits
    fields[0] = 4 * height * width, 32
    fields[1] = 8 - 1, 5
    for size in range(4):
        fields[2 + size] = sizes[size] - 1, 4
    count, start = 6, 0
    for run in range(num_ends):
        rest = 4 * (ends[run] - start)
        start = ends[run]
        while rest:
            length = min(rest, longest)
            rest -= length
            size = 0
            while length > 1 << sizes[size]:
                size += 1
            fields[count] = 4 | size, 3
            fields[count + 1] = length - 1, sizes[size]
            fields[count + 2] = 255 * (run % 2), 8
            count += 3
    packed = np.zeros((fields[:count, 1].sum() + 7) // 8, dtype=np.uint8)
    position = 0
    for field in range(count):
        value, bits = fields[field]
        for bit in range(bits - 1, -1, -1):
            packed[position // 8] |= ((value >> bit) & 1) << (7 - position % 8)
            position += 1
    return packed
