"""Run-length masks over pycocotools: encode, decode, measure, compare, unite; compressed counts are always `str`.

Masks stay in this form until pixels are needed: a few hundred bytes instead of a megabyte each.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from pycocotools import mask as coco_mask

from cutler_pl.coco.bounds import MAX_PIXELS, can_rasterise
from cutler_pl.coco.schema import RLE, Segmentation, UncompressedRLE
from cutler_pl.errors import AnnotationError
from cutler_pl.runtime.numba_jit import njit_cached

_SCANNED = 1 << 16  # masks whose counts are joined at a time


def encode(mask: Bool[np.ndarray, "height width"] | UInt8[np.ndarray, "height width"]) -> RLE:
    """Compressed RLE of a mask; every non-zero pixel belongs to it."""
    return with_str_counts(coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8)))


def encode_at(mask: Bool[np.ndarray, "h w"], top: int, left: int, *, size_hw: tuple[int, int]) -> RLE:
    """Compressed RLE of a mask that lies in a larger image with its upper left pixel at (top, left).

    Memory is that of the columns which the mask touches.
    """
    height, width = size_hw
    columns = np.zeros((height, mask.shape[1]), dtype=bool)
    columns[top : top + mask.shape[0]] = mask
    flat = np.concatenate([[False], columns.T.reshape(-1), [False]])  # run lengths go down the columns
    counts = np.diff(np.flatnonzero(flat[1:] != flat[:-1]), prepend=0)
    if not len(counts):
        return to_rle(UncompressedRLE(size=[height, width], counts=[height * width]), height, width)
    counts[0] += left * height
    rest = height * width - int(counts.sum())
    runs = [*counts.tolist(), *([rest] if rest else [])]
    return to_rle(UncompressedRLE(size=[height, width], counts=runs), height, width)


def decode(rle: RLE) -> Bool[np.ndarray, "height width"]:
    """Pixels of a compressed RLE.

    Raises:
        ValueError: The counts do not add up to the size.
    """
    return np.ascontiguousarray(coco_mask.decode(rle), dtype=bool)


def to_rle(segmentation: Segmentation, height: int, width: int) -> RLE:
    """Compressed RLE of any of COCO's three forms; the image's size is used for polygons only, none are empty.

    Raises:
        AnnotationError: Polygons or run lengths are beyond what pycocotools can take.
    """
    if isinstance(segmentation, list):
        if segmentation:
            return with_str_counts(coco_mask.merge(_rasterise(segmentation, height, width)))
        segmentation = {"size": [height, width], "counts": [height * width]}
    counts = segmentation["counts"]
    if isinstance(counts, list):
        rows, columns = segmentation["size"]
        if sum(counts) != rows * columns or rows * columns > MAX_PIXELS:
            raise AnnotationError(f"run lengths do not add up to their size {rows}×{columns}; repair the annotations")
        return with_str_counts(coco_mask.frPyObjects(segmentation, rows, columns))
    return with_str_counts(segmentation)


def counts(rle: RLE) -> Int64[np.ndarray, " runs"]:
    """Run lengths of a compressed RLE as numbers, background first, whose counts are well formed."""
    given = rle["counts"]
    code = np.frombuffer(given.encode("ascii") if isinstance(given, str) else given, dtype=np.uint8)
    found: Int64[np.ndarray, " runs"] = njit_cached(_read_counts)(code)
    return found


def area(rle: RLE) -> int:
    """Number of pixels of a mask."""
    return int(coco_mask.area(rle))


def have_pixels(
    segmentations: Sequence[Segmentation | None], sizes_hw: Sequence[Sequence[int]], *, are_bounded: bool = False
) -> list[bool]:
    """Whether each segmentation, of an image of the given size, covers any pixel; true where there is none.

    `are_bounded` says that `bounds.polygons_error` found no error, which is then not looked for again.
    """
    found = [segmentation is None for segmentation in segmentations]
    masks: dict[int, RLE] = {}
    for i, (segmentation, (height, width)) in enumerate(zip(segmentations, sizes_hw, strict=True)):
        if isinstance(segmentation, list):  # the union of polygons is not needed
            found[i] = bool(segmentation) and any(
                coco_mask.area(_rasterise(segmentation, height, width, is_bounded=are_bounded))
            )
        elif segmentation is not None:
            masks[i] = to_rle(segmentation, height, width)
    for i, pixels in zip(masks, areas([*masks.values()]).tolist(), strict=True):
        found[i] = pixels > 0
    return found


def bbox(rle: RLE) -> list[float]:
    """Tight box `[x, y, width, height]` of a mask; all zero for an empty mask."""
    return [float(value) for value in coco_mask.toBbox(rle)]


def iou(rles: Sequence[RLE], others: Sequence[RLE]) -> Float64[np.ndarray, "masks others"]:
    """Pairwise intersection over union in pixels; 0 where both masks are empty.

    Raises:
        ValueError: Two masks have different sizes.
    """
    sizes = {tuple(rle["size"]) for rle in (*rles, *others)}
    if len(sizes) > 1:
        raise ValueError(f"masks of different sizes cannot be compared: {sorted(sizes)}")
    if not rles or not others:
        return np.zeros((len(rles), len(others)))
    return np.asarray(coco_mask.iou(list(rles), list(others), [0] * len(others)), dtype=np.float64)


def are_consistent(rles: Sequence[RLE]) -> Bool[np.ndarray, " masks"]:
    """Tell for each compressed RLE whether its counts are well formed and add up to its size.

    pycocotools itself loops forever, or reads past the end, on some counts that are not.
    """
    return scan([rle["counts"] for rle in rles], sizes_hw(rles)).consistent


def areas(rles: Sequence[RLE]) -> Int64[np.ndarray, " masks"]:
    """Number of pixels of each mask; for many masks much faster than one `area` after the other."""
    return scan([rle["counts"] for rle in rles], sizes_hw(rles)).areas


def sizes_hw(rles: Sequence[RLE]) -> Int64[np.ndarray, "masks 2"]:
    """Height and width of each mask."""
    return np.array([rle["size"] for rle in rles], dtype=np.int64).reshape(-1, 2)


class Scan(NamedTuple):
    """Whether the counts of masks are well formed and add up to the size, their pixels, and their tight boxes.

    Boxes are xyxy in pixels, all zero for an empty mask.
    """

    consistent: Bool[np.ndarray, " masks"]
    areas: Int64[np.ndarray, " masks"]
    boxes: Int64[np.ndarray, "masks 4"]


def scan(counts: Sequence[str | bytes], sizes: Int64[np.ndarray, "masks 2"]) -> Scan:
    """Check and measure many masks, given by counts and sizes (height, width): much faster than one by one."""
    masks = len(counts)
    result = Scan(np.zeros(masks, dtype=bool), np.zeros(masks, np.int64), np.zeros((masks, 4), np.int64))
    for first in range(0, masks, _SCANNED):
        part = slice(first, first + _SCANNED)
        texts = [text.decode("latin-1") if isinstance(text, bytes) else text for text in counts[part]]
        joined = "".join(texts)
        if not joined.isascii():
            joined = re.sub(r"[^\x00-\x7f]", " ", joined)  # which is no code
        code = np.frombuffer(joined.encode("ascii"), dtype=np.uint8)
        ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
        njit_cached(_scan_counts)(code, ends, sizes[part], *(column[part] for column in result))
    return result


def with_str_counts(rle: Any) -> RLE:
    """The same compressed RLE, with counts as `str` whichever of the two forms they had."""
    counts = rle["counts"]
    if isinstance(counts, str) and type(rle["size"][0]) is int and type(rle["size"]) is list:
        return cast(RLE, rle)
    return {
        "size": [int(length) for length in rle["size"]],
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }


def _rasterise(polygons: list[Any], height: int, width: int, *, is_bounded: bool = False) -> list[Any]:
    """Masks of polygons."""
    if not is_bounded and not can_rasterise(polygons):
        raise AnnotationError(
            f"polygons lie too far outside their image of {height}×{width} pixels (height×width) to be rasterised; "
            "repair the annotations"
        )
    return cast(list[Any], coco_mask.frPyObjects(polygons, height, width))


def _read_counts(code: UInt8[np.ndarray, " characters"]) -> Int64[np.ndarray, " runs"]:
    """Numbers of the code that `_scan_counts` explains."""
    found = np.empty(len(code), dtype=np.int64)
    position = index = 0
    while position < len(code):
        value = shift = 0
        more = True
        while more:
            bits = np.int64(code[position]) - 48
            value += int(bits & 31) << shift
            shift += 5
            more = bits & 32 != 0
            if not more and bits & 16:
                value -= 1 << shift
            position += 1
        found[index] = value if index < 3 else value + found[index - 2]
        index += 1
    return found[:index]


def _scan_counts(
    code: UInt8[np.ndarray, " characters"],
    ends: Int64[np.ndarray, " masks"],
    sizes: Int64[np.ndarray, "masks 2"],
    consistent: Bool[np.ndarray, " masks"],
    areas: Int64[np.ndarray, " masks"],
    boxes: Int64[np.ndarray, "masks 4"],
) -> None:
    """Fill in a `Scan` for masks written one after the other, each up to its position in `ends`.

    COCO's code: a character holds 5 bits from '0' on, bit 6 says that more follow, the last one's bit 5 is the sign;
    from the fourth count on, the difference to the count two before is stored.
    """
    position = 0
    for mask in range(len(ends)):
        end = ends[mask]
        height, pixels = max(sizes[mask, 0], 1), sizes[mask, 0] * sizes[mask, 1]
        total = index = last = before = column = row = area = 0
        left, top, right, bottom = sizes[mask, 1], height, 0, 0
        valid = True
        while valid and position < end:
            value = shift = 0
            more = True
            while valid and more:
                bits = np.int64(code[position]) - 48 if position < end else np.int64(-1)
                valid = bool(0 <= bits <= 63 and shift < 35)
                if valid:
                    value += int(bits & 31) << shift
                    shift += 5
                    more = bits & 32 != 0
                    if not more and bits & 16:
                        value -= 1 << shift
                    position += 1
            if index > 2:
                value += before
            valid = valid and 0 <= value <= pixels
            if valid:
                foreground = index % 2 == 1 and value > 0
                if foreground:
                    area += value
                    left, top = min(left, column), min(top, row)
                total += value
                row += value
                last_row = row  # one past the run's last pixel, while the run stays in its column
                if row >= height:
                    if foreground and row > height:  # the run goes on at the top of the next column
                        top, last_row = 0, height
                    column, row = column + row // height, row % height
                if foreground:
                    right, bottom = max(right, column + (row > 0)), max(bottom, last_row)
            before, last = last, value
            index += 1
        consistent[mask] = valid and total == pixels
        areas[mask] = area
        if area:
            boxes[mask] = left, top, right, bottom
        position = end
