"""Confidence of the pixels of masks, in 8 bits as in `Target`: drawn from maps, pasted with objects, averaged."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from cutler_pl.coco.confidence import CERTAIN, ConfidenceMap
from cutler_pl.data.loader import sendable_zeros
from cutler_pl.data.transforms import SizeHW, TransformParams
from cutler_pl.types import Target


def draw_confidence(
    maps: Mapping[int, ConfidenceMap], count: int, size_hw: SizeHW, params: TransformParams
) -> UInt8[Tensor, "gt height width"]:
    """Maps of an image of `size_hw` at the size of a transform: each pixel has the value of the cell at its center.

    Args:
        maps: By the number of the object; those without one are certain.
        count: Number of objects.
        size_hw: Height and width of the image as annotated.
        params: Resize and flip.
    """
    height, width = params.size_hw
    drawn = sendable_zeros(count, height, width)
    drawn.fill_(CERTAIN)
    for number, (values, (x, y, box_width, box_height)) in maps.items():
        rows, top = _cells(height, size_hw[0], y, box_height, values.shape[0])
        columns, left = _cells(width, size_hw[1], x, box_width, values.shape[1])
        if params.flip:
            columns, left = columns[::-1], width - left - len(columns)
        window = slice(top, top + len(rows)), slice(left, left + len(columns))
        drawn[number].numpy()[window] = values[np.ix_(rows, columns)]
    return drawn


def _cells(new: int, old: int, start: float, length: float, cells: int) -> tuple[Int64[np.ndarray, " pixels"], int]:
    """The cell under the center of each of `new` pixels that stand for `old`, and the first pixel that has one."""
    centers = ((np.arange(new) + 0.5) * (old / new) - start) / length * cells
    inside = np.flatnonzero((centers >= 0) & (centers < cells))
    return centers[inside].astype(np.int64), int(inside[0]) if len(inside) else 0


def target_confidence(target: Target) -> UInt8[Tensor, "gt height width"]:
    """The confidence of a target's pixels: certain everywhere where it has none."""
    if "confidence" in target:
        return target["confidence"]
    return torch.full_like(target["masks"], CERTAIN, dtype=torch.uint8)


def mean_confidence(target: Target) -> Float[Tensor, " gt"]:
    """Mean confidence of the pixels inside each mask, from 0 to 1; 1 for an empty one."""
    masks = target["masks"]
    doubt = torch.where(masks, CERTAIN - target_confidence(target), 0).sum(dim=(1, 2))
    return 1 - doubt / (CERTAIN * masks.sum(dim=(1, 2)).clamp(min=1))


def pasted_confidence(
    doubt: Float[Tensor, "boxes h w"], copies: Bool[Tensor, "boxes h w"]
) -> UInt8[Tensor, "boxes h w"]:
    """Confidence of copies from their scaled doubt: what a copy does not cover is certainly not of it."""
    return CERTAIN - torch.where(copies, doubt.round(), 0.0).to(torch.uint8)


def blend(
    pixels: Float[Tensor, "3 h w"],
    background: UInt8[Tensor, "3 h w"],
    confidence: UInt8[Tensor, "boxes h w"],
    copies: Bool[Tensor, "boxes h w"],
) -> Float[Tensor, "3 h w"]:
    """Pixels of copies over what they cover, as opaque as they are certain (CutS3D)."""
    opacity = torch.where(copies, confidence, 0).amax(dim=0) / CERTAIN
    return opacity * pixels + (1 - opacity) * background
