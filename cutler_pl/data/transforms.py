"""Random view of a training image: shortest side to one of several lengths, mirrored or not.

As in the original: pixels are resized with Pillow's bilinear filter, sizes are rounded half up, polygons are scaled
and rasterised at the new size, run-length masks are decoded and resized by nearest neighbour, boxes are scaled.
Objects whose box or mask is empty afterwards are dropped. A mask takes up pixels only at the training size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.coco.schema import Segmentation

SizeHW = tuple[int, int]


@dataclass(frozen=True)
class TransformParams:
    """How an image is shown: resized to `size_hw`, then mirrored left to right if `flip`."""

    size_hw: SizeHW
    flip: bool = False


def sample_params(
    size_hw: SizeHW,
    *,
    train_sizes: Sequence[int],
    max_size: int,
    flip_probability: float,
    generator: torch.Generator,
) -> TransformParams:
    """Draw the view of one image.

    Args:
        size_hw: Size of the image.
        train_sizes: Lengths of the shorter side, each as likely as the others.
        max_size: Cap of the longer side.
        flip_probability: How often the image is mirrored.
        generator: Source of the two random choices.
    """
    short_side = train_sizes[int(torch.randint(len(train_sizes), (), generator=generator))]
    flip = float(torch.rand((), generator=generator)) < flip_probability
    return TransformParams(resized_size(size_hw, short_side=short_side, max_size=max_size), flip)


def resized_size(size_hw: SizeHW, *, short_side: int, max_size: int) -> SizeHW:
    """Size that brings the shorter side to `short_side`, or the longer one to `max_size` where it would be longer."""
    scale = short_side / min(size_hw)
    scaled = [short_side if side == min(size_hw) else scale * side for side in size_hw]
    if max(scaled) > max_size:
        scaled = [side * (max_size / max(scaled)) for side in scaled]
    height, width = (max(int(side + 0.5), 1) for side in scaled)
    return height, width


def apply_image(image: UInt8[np.ndarray, "height width 3"], params: TransformParams) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels of a view."""
    height, width = params.size_hw
    if image.shape[:2] != params.size_hw:
        image = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(image[:, ::-1] if params.flip else image)


def apply_boxes(
    boxes_xyxy: Float[np.ndarray, "gt 4"], size_hw: SizeHW, params: TransformParams
) -> Float[np.ndarray, "gt 4"]:
    """Boxes of an image of `size_hw` in a view of it, cut at its borders."""
    height, width = params.size_hw
    x, y = boxes_xyxy[:, 0::2] * (width / size_hw[1]), boxes_xyxy[:, 1::2] * (height / size_hw[0])
    if params.flip:
        x = (width - x)[:, ::-1]
    x, y = x.clip(0, width), y.clip(0, height)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def apply_mask(segmentation: Segmentation, size_hw: SizeHW, params: TransformParams) -> Bool[np.ndarray, "h w"]:
    """Mask of one object of an image of `size_hw` in a view of it."""
    height, width = params.size_hw
    if isinstance(segmentation, list):
        factor = np.array([width / size_hw[1], height / size_hw[0]])
        polygons = [(np.reshape(polygon, (-1, 2)) * factor).ravel().tolist() for polygon in segmentation]
        mask = rle.decode(rle.to_rle(polygons, height, width))
    else:
        mask = _resize_nearest(rle.decode(rle.to_rle(segmentation, *size_hw)), params.size_hw)
    return mask[:, ::-1] if params.flip else mask


def _resize_nearest(mask: Bool[np.ndarray, "height width"], size_hw: SizeHW) -> Bool[np.ndarray, "h w"]:
    """The pixel under each new pixel's centre, as Pillow's nearest filter takes it."""
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.intp) for old, new in zip(mask.shape, size_hw, strict=True)
    )
    resized: Bool[np.ndarray, "h w"] = mask[rows[:, None], columns]
    return resized
