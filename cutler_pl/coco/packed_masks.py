"""Segmentations as bytes, of one of three kinds, as the index stores them."""

import numpy as np

from cutler_pl.coco import rle
from cutler_pl.coco.schema import Segmentation

NO_MASK, RUN_LENGTHS, POLYGONS = range(3)


def encode_segmentation(segmentation: Segmentation | None) -> tuple[int, bytes]:
    """Kind and bytes: compressed run lengths, or float64 numbers: count, length of each polygon, coordinates."""
    if segmentation is None:
        return NO_MASK, b""
    if isinstance(segmentation, list):
        numbers: list[float] = [len(segmentation), *map(len, segmentation)]
        for polygon in segmentation:
            numbers += polygon
        return POLYGONS, np.array(numbers, dtype=np.float64).tobytes()
    return RUN_LENGTHS, rle.to_rle(segmentation, 0, 0)["counts"].encode("ascii")


def decode_segmentation(kind: int, data: bytes, height: int, width: int) -> Segmentation | None:
    """The segmentation of an image of this size; inverse of `encode_segmentation`."""
    if kind == NO_MASK:
        return None
    if kind == RUN_LENGTHS:
        return {"size": [height, width], "counts": data.decode("ascii")}
    numbers = np.frombuffer(data, dtype=np.float64)
    count = int(numbers[0])
    ends = np.cumsum(numbers[1 : 1 + count]).astype(np.int64)
    return [polygon.tolist() for polygon in np.split(numbers[1 + count :], ends[:-1])]
