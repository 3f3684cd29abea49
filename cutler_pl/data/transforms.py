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

from cutler_pl.coco import rle
from cutler_pl.coco.schema import Segmentation
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
    resized = resize_image(image, params.size_hw)
    return resized.flip(-1) if params.flip else resized


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


def apply_mask(segmentation: Segmentation, size_hw: SizeHW, params: TransformParams) -> Bool[np.ndarray, "h w"]:
    """Resized and flipped mask of one object of an image of `size_hw`."""
    height, width = params.size_hw
    if isinstance(segmentation, list):
        factor = np.array([width / size_hw[1], height / size_hw[0]])
        polygons = [(np.reshape(polygon, (-1, 2)) * factor).ravel().tolist() for polygon in segmentation]
        mask = rle.decode(rle.to_rle(polygons, height, width))
    else:
        mask = _resize_nearest(rle.decode(rle.to_rle(segmentation, *size_hw)), params.size_hw)
    return mask[:, ::-1] if params.flip else mask


def _resize_nearest(mask: Bool[np.ndarray, "height width"], size_hw: SizeHW) -> Bool[np.ndarray, "h w"]:
    """Nearest neighbour, as Pillow computes it: the pixel under each new pixel's center."""
    scales = zip(mask.shape, size_hw, strict=True)
    rows, columns = (((np.arange(new) + 0.5) * (old / new)).astype(np.intp) for old, new in scales)
    resized: Bool[np.ndarray, "h w"] = mask[rows[:, None], columns]
    return resized
