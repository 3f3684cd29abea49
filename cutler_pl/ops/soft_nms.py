"""Soft-NMS (Bodla et al., ICCV 2017): overlapping boxes lose score instead of being dropped."""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cutler_pl.ops.boxes import box_iou

Decay = Literal["gaussian", "linear"]


def soft_nms(
    boxes: Float[Tensor, "batch boxes 4"],
    scores: Float[Tensor, "batch boxes"],
    labels: Int64[Tensor, "batch boxes"],
    *,
    decay: Decay = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
) -> Float[Tensor, "batch boxes"]:
    """New score of each box: the best box is taken, those of its class decay by their IoU with it, and so on.

    Args:
        boxes: Boxes of each image, in any order.
        scores: At least 0; 0 is padding and stays 0.
        labels: Boxes of different labels do not meet.
        decay: `gaussian`, exp(-IoU² / sigma) (Eq. 3), or `linear`, 1 - IoU (Eq. 2).
        sigma: Of the Gaussian.
        iou_threshold: IoU from which `linear` decays, N_t in the paper.
    """
    overlaps = torch.where(labels[:, :, None] == labels[:, None, :], box_iou(boxes, boxes), 0.0)
    if decay == "gaussian":
        factors = torch.exp(-(overlaps**2) / sigma)
    else:
        factors = torch.where(overlaps >= iou_threshold, 1 - overlaps, 1.0)
    images = torch.arange(scores.shape[0], device=scores.device)
    current, taken = scores.clone(), torch.zeros_like(scores, dtype=torch.bool)
    for _ in range(scores.shape[1]):
        best = current.masked_fill(taken, -1.0).argmax(dim=1)
        taken[images, best] = True
        current = torch.where(taken, current, current * factors[images, best])
    return current
