"""Binary masks as tensors: intersections and IoU."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor


def mask_intersections(
    masks: Bool[Tensor, "boxes height width"], others: Bool[Tensor, "gt height width"]
) -> Float[Tensor, "boxes gt"]:
    """Number of pixels each pair shares, exact up to 2^24 pixels per mask, under autocast too."""
    with torch.autocast(masks.device.type, enabled=False):  # half precision cannot count beyond 2048
        return masks.flatten(1).float() @ others.flatten(1).float().T


def paired_iou(
    masks: Bool[Tensor, "*batch height width"], others: Bool[Tensor, "*batch height width"]
) -> Float64[Tensor, "*batch"]:
    """IoU of each mask with its counterpart; NaN where both are empty."""
    shared, united = _areas(masks & others), _areas(masks | others)
    return shared.double() / united.double()


def _areas(masks: Bool[Tensor, "*batch height width"]) -> Int64[Tensor, "*batch"]:
    if masks.device.type != "cpu":
        return masks.sum((-2, -1))
    batch = masks.shape[:-2]
    flat = masks.reshape(math.prod(batch), math.prod(masks.shape[-2:])).numpy()
    # torch needs twenty times as long as NumPy to count bools
    return torch.tensor([np.count_nonzero(mask) for mask in flat], dtype=torch.int64).view(batch)
