"""Regions with the ground truth each belongs to: what the box and mask heads learn from. All images at once."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cutler_pl.models.ground_truth import GroundTruth
from cutler_pl.models.matching import IGNORED, NEGATIVE, POSITIVE, Matcher, Sampler, sample_indices
from cutler_pl.ops.boxes import box_iou


class LabeledProposals(NamedTuple):
    """Regions of all images, images in order; classes count from 0 and the background is `num_classes`."""

    rois: Float[Tensor, "regions 5"]
    """Index of the image, then the box."""
    classes: Int64[Tensor, " regions"]
    gt_indices: Int64[Tensor, " regions"]
    """Ground truth of its image with the highest IoU, for background too; 0 where the image has none."""
    gt_boxes: Float[Tensor, "regions 4"]
    """Its box; zeros where the image has none."""
    gt_classes: Int64[Tensor, " regions"]
    """Its class; 0 where the image has none."""

    @property
    def boxes(self) -> Float[Tensor, "regions 4"]:
        """The boxes without the indices of their images."""
        return self.rois[:, 1:]

    @property
    def images(self) -> Int64[Tensor, " regions"]:
        """The index of each region's image."""
        return self.rois[:, 0].long()

    def take(self, chosen: Int64[Tensor, " _"]) -> "LabeledProposals":
        """Some of the regions."""
        return LabeledProposals(*(part[chosen] for part in self))

    def per_image(self, batch: int) -> list[int]:
        """Number of regions of each of so many images."""
        counts: list[int] = torch.bincount(self.images, minlength=batch).tolist()
        return counts


def stage_matcher(iou: float) -> Matcher:
    """Foreground from an IoU on, all else background."""
    return Matcher((iou,), (NEGATIVE, POSITIVE))


@torch.no_grad()
def label_proposals(
    rois: Float[Tensor, "regions 5"], truth: GroundTruth, matcher: Matcher, *, num_classes: int
) -> LabeledProposals:
    """Match regions with the ground truth of their image."""
    image = rois[:, 0].long()
    iou = box_iou(rois[:, None, 1:], truth.boxes[image])[:, 0]
    indices, labels = matcher(iou.T)
    gt_boxes, gt_classes = truth.boxes[image, indices], truth.classes[image, indices]
    classes = torch.where(labels == POSITIVE, gt_classes, num_classes)
    return LabeledProposals(rois, classes, indices, gt_boxes, gt_classes)


@torch.no_grad()
def sample_proposals(
    proposals: Sequence[Float[Tensor, "_ 4"]],
    truth: GroundTruth,
    gt_counts: Sequence[int],
    matcher: Matcher,
    *,
    num_classes: int,
    num_samples: int,
    positive_fraction: float,
    sampler: Sampler,
) -> LabeledProposals:
    """Add the ground truth to the proposals, match, and draw a sample of each image: foreground, then background.

    Args:
        proposals: Boxes of each image.
        truth: Ground truth of the batch.
        gt_counts: Number of objects of each image.
        matcher: Says what is foreground.
        num_classes: Classes without the background.
        num_samples: Regions of an image at most.
        positive_fraction: Largest share of foreground among them.
        sampler: The order in which regions are taken.
    """
    lists = [torch.cat([p, gt[:n]]) for p, gt, n in zip(proposals, truth.boxes, gt_counts, strict=True)]
    candidates = pad_sequence(lists, batch_first=True)
    counts = torch.tensor([[len(boxes)] for boxes in lists]).to(candidates.device, non_blocking=True)
    there = torch.arange(candidates.shape[1], device=candidates.device) < counts
    match = matcher(box_iou(truth.boxes, candidates))
    drawn, taken = sample_indices(
        torch.where(there, match.labels, IGNORED),
        num_samples=num_samples,
        positive_fraction=positive_fraction,
        sampler=sampler,
    )
    image, slot = torch.nonzero(taken, as_tuple=True)
    chosen = drawn[image, slot]
    rois = torch.cat([image[:, None].to(candidates.dtype), candidates[image, chosen]], dim=1)
    return label_proposals(rois, truth, matcher, num_classes=num_classes)
