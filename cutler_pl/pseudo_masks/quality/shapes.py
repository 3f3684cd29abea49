"""Shapes of masks, from run lengths alone, and how likely a mask of a shape and score is an object."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from cutler_pl.coco import rle
from cutler_pl.coco.schema import RLE
from cutler_pl.coco.validation import is_finite_number


def measure(masks: Sequence[RLE]) -> Float64[np.ndarray, "masks 4"]:
    """Share of the image, sides of the image touched, runs per column of the box, and share of the box, per mask.

    A run that goes on in the next column is one run, so that a mask of whole columns has fewer runs than columns.
    """
    sizes = rle.sizes_hw(masks)
    _, areas, boxes = rle.scan([mask["counts"] for mask in masks], sizes)
    left, top, right, bottom = boxes.T
    touched = [left == 0, top == 0, right == sizes[:, 1], bottom == sizes[:, 0]]
    runs = np.array([len(rle.counts(mask)) // 2 for mask in masks])
    width, height = right - left, bottom - top
    columns = [areas / sizes.prod(1), np.sum(touched, 0), runs / width, areas / (width * height)]
    return np.stack(columns, 1).astype(np.float64)


def sureness(
    records: Sequence[Mapping[str, Any]], shapes: Float64[np.ndarray, "masks 4"]
) -> Float64[np.ndarray, " masks"]:
    """How likely each mask is an object, 0 to 1: its score times the share of the image's sides it keeps off.

    Without scores: the share of the image outside the mask, divided by its runs per column where they are more than 1.
    """
    away = 1 - shapes[:, 1] / 4
    if all(is_finite_number(one.get("score")) for one in records):
        return np.array([one["score"] for one in records], dtype=np.float64) * away
    compact: Float64[np.ndarray, " masks"] = (1 - shapes[:, 0]) / np.maximum(shapes[:, 2], 1) * away
    return compact
