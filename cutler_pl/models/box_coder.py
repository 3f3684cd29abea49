"""Boxes as deltas from other boxes: shift of the centre in sides, logarithm of the side ratio, each times a factor."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

BoxWeights = tuple[float, float, float, float]
_LARGEST_LOG = math.log(1000 / 16)


def encode_boxes(
    boxes: Float[Tensor, "*boxes 4"], targets: Float[Tensor, "*boxes 4"], weights: BoxWeights
) -> Float[Tensor, "*boxes 4"]:
    """Deltas that take each box to its target; boxes without area give infinities, for the caller to leave out."""
    (center, size), (target_center, target_size) = _center_size(boxes.float()), _center_size(targets.float())
    wx, wy, ww, wh = weights
    dx, dy = ((target_center - center) / size).unbind(-1)
    dw, dh = torch.log(target_size / size).unbind(-1)
    return torch.stack([dx * wx, dy * wy, dw * ww, dh * wh], dim=-1)


def decode_boxes(
    boxes: Float[Tensor, "*boxes 4"], deltas: Float[Tensor, "*boxes 4"], weights: BoxWeights
) -> Float[Tensor, "*boxes 4"]:
    """Boxes moved by deltas, in float32; a side grows by a factor of 1000/16 at most."""
    center, size = _center_size(boxes.float())
    wx, wy, ww, wh = weights
    dx, dy, dw, dh = deltas.float().unbind(-1)
    shift = torch.stack([dx / wx, dy / wy], dim=-1)
    growth = torch.stack([dw / ww, dh / wh], dim=-1).clamp(max=_LARGEST_LOG)
    new_center, half = shift * size + center, 0.5 * growth.exp() * size
    return torch.cat([new_center - half, new_center + half], dim=-1)


def _center_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * size, size
