"""Weighted boxes fusion (Solovyev et al., 2021): boxes of several views of an image become their weighted means."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cutler_pl.ops.boxes import box_iou


class FusedBoxes(NamedTuple):
    """Clusters of boxes; each is stored at the place of its best box."""

    boxes: Float[Tensor, "batch boxes 4"]
    """Mean of the cluster's boxes, weighted by their scores; zeros at places without a cluster."""
    scores: Float[Tensor, "batch boxes"]
    """Mean score times the share of views that have a box in the cluster; 0 at places without a cluster."""
    clusters: Int64[Tensor, "batch boxes"]
    """Place of the cluster that each box belongs to."""


def weighted_boxes_fusion(
    boxes: Float[Tensor, "batch boxes 4"],
    scores: Float[Tensor, "batch boxes"],
    labels: Int64[Tensor, "batch boxes"],
    *,
    num_views: int,
    iou_threshold: float = 0.55,
) -> FusedBoxes:
    """Put the boxes of all views of an image together, class by class.

    From the best box down, each joins the cluster whose mean so far has the highest IoU with it, above the threshold,
    or begins a new one. A cluster of T boxes of N views has the score mean(C) · min(T, N) / N.

    Args:
        boxes: Boxes of all views of each image, in any order.
        scores: At least 0; 0 is padding and belongs to no cluster that has a score.
        labels: Boxes of different labels do not meet.
        num_views: N of the paper, there the number of models.
        iou_threshold: THR of the paper.
    """
    ranked, order = scores.sort(dim=1, descending=True, stable=True)
    sorted_boxes = boxes.gather(1, order[:, :, None].expand_as(boxes))
    sorted_labels = labels.gather(1, order)
    images = torch.arange(scores.shape[0], device=scores.device)
    places = torch.zeros_like(order)
    sums, totals, means = torch.zeros_like(boxes), torch.zeros_like(scores), torch.zeros_like(boxes)
    for i in range(scores.shape[1]):
        box, score = sorted_boxes[:, i], ranked[:, i]
        overlaps = box_iou(box[:, None], means)[:, 0].masked_fill(sorted_labels != sorted_labels[:, i, None], 0.0)
        highest, nearest = overlaps.max(dim=1)
        place = torch.where(highest > iou_threshold, nearest, i)
        places[:, i] = place
        sums[images, place] += score[:, None] * box
        totals[images, place] += score
        total = totals[images, place][:, None]
        means[images, place] = torch.where(total > 0, sums[images, place] / total, 0.0)
    counts = torch.zeros_like(scores).scatter_add_(1, places, (ranked > 0).to(scores))
    fused = totals / counts.clamp(min=num_views)  # mean(C) · min(T, N) / N = sum(C) / max(T, N)
    return FusedBoxes(
        torch.zeros_like(boxes).scatter_(1, order[:, :, None].expand_as(boxes), means),
        torch.zeros_like(scores).scatter_(1, order, fused),
        torch.zeros_like(order).scatter_(1, order, order.gather(1, places)),
    )
