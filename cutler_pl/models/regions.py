"""Regions of one image with the ground truth each belongs to: what the box and mask heads learn from."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from cutler_pl.models.matching import NEGATIVE, POSITIVE, Matcher, Sampler, sample_indices
from cutler_pl.ops.boxes import box_iou
from cutler_pl.types import Target


class LabelledRegions(NamedTuple):
    """Regions of one image; classes count from 0 and the background is `num_classes`."""

    boxes: Float[Tensor, "boxes 4"]
    classes: Int64[Tensor, " boxes"]
    gt_indices: Int64[Tensor, " boxes"]
    """Ground truth of highest IoU, for background too; 0 where the image has none."""
    gt_boxes: Float[Tensor, "boxes 4"]
    """Its box; zeros where the image has none."""
    gt_classes: Int64[Tensor, " boxes"]
    """Its class; 0 where the image has none."""

    def take(self, chosen: Bool[Tensor, " boxes"] | Int64[Tensor, " _"]) -> "LabelledRegions":
        """Some of the regions."""
        return LabelledRegions(*(part[chosen] for part in self))


def stage_matcher(iou: float) -> Matcher:
    """Foreground from an IoU on, all else background."""
    return Matcher((iou,), (NEGATIVE, POSITIVE))


@torch.no_grad()
def label_regions(
    boxes: Float[Tensor, "boxes 4"], target: Target, matcher: Matcher, *, num_classes: int
) -> LabelledRegions:
    """Match boxes with the ground truth of their image."""
    gt_boxes = target["boxes"].float()
    indices, labels = matcher(box_iou(gt_boxes, boxes))
    if len(gt_boxes) == 0:
        background = torch.full_like(indices, num_classes)
        return LabelledRegions(boxes, background, indices, torch.zeros_like(boxes), indices)
    gt_classes = target["labels"][indices] - 1
    classes = torch.where(labels == POSITIVE, gt_classes, num_classes)
    return LabelledRegions(boxes, classes, indices, gt_boxes[indices], gt_classes)


@torch.no_grad()
def sample_regions(
    proposals: Float[Tensor, "boxes 4"],
    target: Target,
    matcher: Matcher,
    *,
    num_classes: int,
    num_samples: int,
    positive_fraction: float,
    sampler: Sampler,
) -> LabelledRegions:
    """Add the ground truth to the proposals, match, and draw a sample: foreground first, then background."""
    candidates = torch.cat([proposals, target["boxes"].float()])
    regions = label_regions(candidates, target, matcher, num_classes=num_classes)
    labels = torch.where(regions.classes < num_classes, POSITIVE, NEGATIVE).to(torch.int8)
    drawn = sample_indices(labels, num_samples=num_samples, positive_fraction=positive_fraction, sampler=sampler)
    return regions.take(torch.cat(drawn))
