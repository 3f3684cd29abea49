"""Binary masks as tensors: overlap of many with many."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def mask_intersections(
    masks: Bool[Tensor, "boxes height width"], others: Bool[Tensor, "gt height width"]
) -> Float[Tensor, "boxes gt"]:
    """Number of pixels each pair shares, exact up to 2^24 pixels a mask, under autocast too."""
    with torch.autocast(masks.device.type, enabled=False):  # half precision cannot count beyond 2048
        return masks.flatten(1).float() @ others.flatten(1).float().T


def mask_iou(
    masks: Bool[Tensor, "boxes height width"], others: Bool[Tensor, "gt height width"]
) -> Float[Tensor, "boxes gt"]:
    """Pairwise intersection over union in pixels; 0 where both masks are empty."""
    inter = mask_intersections(masks, others)
    union = masks.flatten(1).sum(1)[:, None] + others.flatten(1).sum(1)[None] - inter
    return inter / union.clamp(min=1)
