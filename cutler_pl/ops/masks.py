"""Binary masks as tensors: intersections and IoU."""

import torch
from jaxtyping import Bool, Float, Float64
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
    return (masks & others).sum((-2, -1)).double() / (masks | others).sum((-2, -1)).double()
