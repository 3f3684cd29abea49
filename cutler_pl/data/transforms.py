"""Random resize and horizontal flip of a training image: the shorter side takes one of several lengths.

As in the original: polygons are scaled and rasterised at the new size, run-length masks are decoded and resized by
nearest neighbour, boxes are scaled. Objects whose box or mask is empty afterwards are dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cutler_pl.coco import rle
from cutler_pl.coco.mask_pixels import draw_masks
from cutler_pl.coco.schema import Segmentation
from cutler_pl.data.loader import sendable_zeros
from cutler_pl.ops.resize import resize_image, resized_size_hw
from cutler_pl.runtime.ranges import Integer, ListOf, Share, check_fields
from cutler_pl.types import ImageTensor

SizeHW = tuple[int, int]
_SIDE = Integer(1, 65_535)


@dataclass(frozen=True, kw_only=True)
class TrainTransformParams:
    """Ranges that transforms are drawn from.

    Args:
        train_sizes: Lengths of the shorter side in pixels, each as likely as the others.
        max_size: Largest length of the longer side in pixels.
        flip_probability: Share of the images that are flipped.
    """

    train_sizes: Annotated[Sequence[int], ListOf(_SIDE)]
    max_size: Annotated[int, _SIDE]
    flip_probability: Share

    def __post_init__(self) -> None:
        check_fields(self, "data.")


class TransformParams(NamedTuple):
    """One drawn transform: resize to `size_hw`, then flip left to right if `flip`."""

    size_hw: SizeHW
    flip: bool = False


def sample_params(size_hw: SizeHW, params: TrainTransformParams, rng: torch.Generator) -> TransformParams:
    """Draw the transform of an image of `size_hw`."""
    shortest = params.train_sizes[int(torch.randint(len(params.train_sizes), (), generator=rng))]
    flip = float(torch.rand((), generator=rng)) < params.flip_probability
    return TransformParams(resized_size_hw(size_hw, shortest=shortest, longest=params.max_size), flip)


def apply_image(image: ImageTensor, params: TransformParams) -> ImageTensor:
    """Resized and flipped pixels."""
    return resize_image(image, params.size_hw, flip=params.flip, new=sendable_zeros)


def apply_boxes(
    boxes_xyxy: Float[np.ndarray, "gt 4"], size_hw: SizeHW, params: TransformParams
) -> Float[np.ndarray, "gt 4"]:
    """Resized and flipped boxes of an image of `size_hw`, clipped to it."""
    height, width = params.size_hw
    x, y = boxes_xyxy[:, 0::2] * (width / size_hw[1]), boxes_xyxy[:, 1::2] * (height / size_hw[0])
    if params.flip:
        x = (width - x)[:, ::-1]
    x, y = x.clip(0, width), y.clip(0, height)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def apply_masks(
    segmentations: Sequence[Segmentation], size_hw: SizeHW, params: TransformParams
) -> tuple[Bool[Tensor, "visible h w"], Bool[np.ndarray, " gt"]]:
    """Resized and flipped masks of an image of `size_hw`: those that have pixels then, and which these are."""
    height, width = params.size_hw
    scale_xy = width / size_hw[1], height / size_hw[0]
    scaled = [
        rle.to_rle(_scaled(given, scale_xy), height, width) if isinstance(given, list) else rle.to_rle(given, *size_hw)
        for given in segmentations
    ]
    masks = sendable_zeros(len(scaled), height, width)
    visible = draw_masks(scaled, masks.numpy(), flip=params.flip)
    return masks[: np.count_nonzero(visible)].view(torch.bool), visible


def _scaled(polygons: list[list[float]], scale_xy: tuple[float, float]) -> list[list[float]]:
    return [(np.reshape(polygon, (-1, 2)) * scale_xy).ravel().tolist() for polygon in polygons]


def load_kernels() -> None:
    """Load what is compiled, before loader processes are forked: each would need time and 40 MB of its own for it."""
    apply_image(torch.zeros((2, 2, 3), dtype=torch.uint8).permute(2, 0, 1), TransformParams((3, 3)))
    apply_masks([{"size": [2, 2], "counts": [4]}], (2, 2), TransformParams((3, 3)))
