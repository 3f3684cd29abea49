"""Boxes as xyxy pixels, right and bottom edge exclusive: a mask of one pixel at (0, 0) has the box 0, 0, 1, 1."""

from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

_Boxes = TypeVar("_Boxes", Tensor, np.ndarray)


def xywh_to_xyxy(boxes: _Boxes) -> _Boxes:
    """COCO's `[x, y, width, height]`, in the last dimension of a tensor or array, as xyxy."""
    join = torch.cat if isinstance(boxes, Tensor) else np.concatenate
    return join([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)


def masks_to_boxes(masks: Bool[Tensor, "boxes height width"]) -> Float[Tensor, "boxes 4"]:
    """Tight boxes of masks; an empty mask has the box 0, 0, 0, 0."""
    (left, right), (top, bottom) = _extent(masks.any(dim=1)), _extent(masks.any(dim=2))
    return torch.stack([left, top, right, bottom]).T.float()


def _extent(used: Bool[Tensor, "boxes side"]) -> tuple[Tensor, Tensor]:
    side = used.shape[1]
    steps = torch.arange(side, device=used.device)
    first = torch.where(used, steps, side).amin(dim=1) if used.numel() else used.new_zeros(len(used), dtype=torch.long)
    last = torch.where(used, steps + 1, 0).amax(dim=1) if used.numel() else first
    return torch.where(last > 0, first, 0), last


def box_area(boxes: Float[Tensor, "*boxes 4"]) -> Float[Tensor, "*boxes"]:
    """Areas in square pixels; a box with a negative side has area 0."""
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return width * height


def box_iou(
    boxes: Float[Tensor, "*batch boxes 4"], others: Float[Tensor, "*batch gt 4"]
) -> Float[Tensor, "*batch boxes gt"]:
    """Pairwise intersection over union within each image; two boxes without overlap, empty ones included, have 0."""
    x0, y0, x1, y1 = boxes[..., :, None, :].unbind(-1)
    left, top, right, bottom = others[..., None, :, :].unbind(-1)
    across = (torch.minimum(x1, right) - torch.maximum(x0, left)).clamp(min=0)
    inter = across * (torch.minimum(y1, bottom) - torch.maximum(y0, top)).clamp(min=0)
    union = box_area(boxes)[..., :, None] + box_area(others)[..., None, :] - inter
    return torch.where(inter > 0, inter / union, 0.0)


def clip_boxes(boxes: Float[Tensor, "boxes 4"], size_hw: tuple[int, int]) -> Float[Tensor, "boxes 4"]:
    """Boxes clipped to an image of `size_hw`."""
    height, width = size_hw
    return torch.stack([boxes[:, i].clamp(0, (width, height)[i % 2]) for i in range(4)], dim=1)


def nonempty(boxes: Float[Tensor, "*boxes 4"], *, min_side: float = 0.0) -> Bool[Tensor, "*boxes"]:
    """Which boxes are wider and higher than `min_side` pixels."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides > min_side).all(dim=-1)
