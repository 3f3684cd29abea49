"""Run-length masks over pycocotools: encode, decode, measure, compare, unite; compressed counts are always `str`.

Masks stay in this form until pixels are needed: a few hundred bytes instead of a megabyte each.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from pycocotools import mask as coco_mask

from cutler_pl.coco.schema import RLE, Segmentation


def encode(mask: Bool[np.ndarray, "height width"] | UInt8[np.ndarray, "height width"]) -> RLE:
    """Compressed RLE of a mask; every non-zero pixel belongs to it."""
    return with_str_counts(coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8)))


def decode(rle: RLE) -> Bool[np.ndarray, "height width"]:
    """Pixels of a compressed RLE.

    Raises:
        ValueError: The counts do not add up to the size.
    """
    return np.ascontiguousarray(coco_mask.decode(rle), dtype=bool)


def to_rle(segmentation: Segmentation, height: int, width: int) -> RLE:
    """Compressed RLE of polygons, of run lengths, or of an RLE that is compressed already.

    Args:
        segmentation: Any of COCO's three forms; no polygons at all make an empty mask.
        height: Height of the image in pixels, used for polygons only.
        width: Width of the image in pixels, used for polygons only.
    """
    if isinstance(segmentation, list):
        if not segmentation:
            return encode(np.zeros((height, width), dtype=bool))
        return with_str_counts(coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width)))
    if isinstance(segmentation["counts"], list):
        return with_str_counts(coco_mask.frPyObjects(segmentation, *segmentation["size"]))
    return with_str_counts(segmentation)


def area(rle: RLE) -> int:
    """Number of pixels of a mask."""
    return int(coco_mask.area(rle))


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


def merge(rles: Sequence[RLE]) -> RLE:
    """Union of at least one mask of one size."""
    return with_str_counts(coco_mask.merge(list(rles)))


def are_consistent(rles: Iterable[RLE], *, chunk: int = 2048) -> Bool[np.ndarray, " masks"]:
    """Tell for each compressed RLE whether its counts are well formed and add up to its size.

    pycocotools itself loops forever, or reads past the end, on some counts that are not. Vectorised over `chunk`
    masks at a time, so that millions of annotations take seconds.
    """
    verdicts: list[Bool[np.ndarray, " masks"]] = []
    part: list[RLE] = []
    for rle in rles:
        part.append(rle)
        if len(part) == chunk:
            verdicts.append(_are_consistent(part))
            part = []
    verdicts.append(_are_consistent(part))
    return np.concatenate(verdicts)


def with_str_counts(rle: Any) -> RLE:
    """The same compressed RLE, with counts as `str` whichever of the two forms they had."""
    counts = rle["counts"]
    return {
        "size": [int(length) for length in rle["size"]],
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }


def _are_consistent(rles: list[RLE]) -> Bool[np.ndarray, " masks"]:
    """COCO's code: a character holds 5 bits from '0' on, bit 6 says that more follow, the last one's bit 5 is the
    sign; from the fourth count on, the difference to the count two before is stored."""
    encoded = [rle["counts"].encode("ascii", "replace") for rle in rles]
    fine = np.array([bool(c) and not (c[-1] - 48) & 32 for c in encoded], dtype=bool)
    encoded = [c if ok else b"0" for c, ok in zip(encoded, fine, strict=True)]
    if not encoded:
        return fine
    owner = np.repeat(np.arange(len(encoded)), [len(c) for c in encoded])
    bits = np.frombuffer(b"".join(encoded), dtype=np.uint8).astype(np.int64) - 48
    fine[owner[(bits < 0) | (bits > 63)]] = False

    ends = np.flatnonzero((bits & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    digit = np.arange(len(bits)) - np.repeat(starts, ends - starts + 1)
    fine[owner[digit > 6]] = False  # more than 35 bits is no count
    values = np.add.reduceat((bits & 31) << (5 * np.minimum(digit, 7)), starts)
    values -= np.where(bits[ends] & 16, np.int64(1) << (5 * np.minimum(digit[ends] + 1, 8)), 0)

    owner = owner[ends]
    first = np.searchsorted(owner, np.arange(len(encoded)))
    index = np.arange(len(values)) - first[owner]
    # Differences are added up along each mask's odd and even counts apart; the first count belongs to neither.
    chain = owner * 3 + np.where(index == 0, 0, 1 + index % 2)
    order = np.argsort(chain, kind="stable")
    running = np.cumsum(values[order])
    chain_start = np.flatnonzero(np.diff(chain[order], prepend=-1))
    before = np.concatenate([[0], running])[chain_start]
    counts = running - np.repeat(before, np.diff(np.append(chain_start, len(values))))
    fine[owner[order][counts < 0]] = False
    total = np.bincount(owner[order], weights=counts, minlength=len(encoded))
    pixels = np.array([rle["size"][0] * rle["size"][1] for rle in rles], dtype=np.float64)
    sound: Bool[np.ndarray, " masks"] = fine & (total == pixels)
    return sound
