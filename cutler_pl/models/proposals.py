"""Proposals with the ground truth each is matched with: what the box and mask heads learn from. All images at once."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cutler_pl.models.matcher import IGNORED, NEGATIVE, POSITIVE, Match, Matcher
from cutler_pl.models.sampler import Sampler, sample_indices
from cutler_pl.models.targets import PaddedTargets
from cutler_pl.ops.boxes import box_iou
from cutler_pl.ops.counts import count_each


class LabeledProposals(NamedTuple):
    """Proposals of all images, images in order; classes count from 0 and the background is `num_classes`."""

    rois: Float[Tensor, "proposals 5"]
    """Index of the image, then the box."""
    classes: Int64[Tensor, " proposals"]
    gt_indices: Int64[Tensor, " proposals"]
    """Ground truth of its image with the highest IoU, for background too; 0 where the image has none."""
    gt_boxes: Float[Tensor, "proposals 4"]
    """Its box; zeros where the image has none."""
    gt_classes: Int64[Tensor, " proposals"]
    """Its class; 0 where the image has none."""
    scores: Float[Tensor, " proposals"]
    """Its score for foreground; 1 for background, which is certain."""

    @property
    def boxes(self) -> Float[Tensor, "proposals 4"]:
        """The boxes without the indices of their images."""
        return self.rois[:, 1:]

    @property
    def images(self) -> Int64[Tensor, " proposals"]:
        """The index of each proposal's image."""
        return self.rois[:, 0].long()

    def take(self, chosen: Int64[Tensor, " _"]) -> "LabeledProposals":
        """Some of the proposals."""
        return LabeledProposals(*(part[chosen] for part in self))

    def per_image(self, batch: int) -> list[int]:
        """Number of proposals of each of so many images."""
        return count_each(self.images, batch)


def stage_matcher(iou: float) -> Matcher:
    """Foreground from an IoU on, all else background."""
    return Matcher((iou,), (NEGATIVE, POSITIVE))


@torch.no_grad()
def label_proposals(
    rois: Float[Tensor, "proposals 5"], targets: PaddedTargets, matcher: Matcher, *, num_classes: int
) -> LabeledProposals:
    """Match proposals with the ground truth of their image."""
    iou = box_iou(rois[:, None, 1:], targets.boxes[rois[:, 0].long()])[:, 0]
    return _with_ground_truth(rois, matcher(iou.T), targets, num_classes)


def _with_ground_truth(rois: Tensor, match: Match, targets: PaddedTargets, num_classes: int) -> LabeledProposals:
    image, (indices, labels) = rois[:, 0].long(), match
    gt_boxes, gt_classes = targets.boxes[image, indices], targets.classes[image, indices]
    foreground = labels == POSITIVE
    classes = torch.where(foreground, gt_classes, num_classes)
    scores = torch.where(foreground, targets.scores[image, indices], 1.0)
    return LabeledProposals(rois, classes, indices, gt_boxes, gt_classes, scores)


@torch.no_grad()
def sample_proposals(
    proposals: Sequence[Float[Tensor, "_ 4"]],
    targets: PaddedTargets,
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
        targets: Ground truth of the batch.
        matcher: Says what is foreground.
        num_classes: Classes without the background.
        num_samples: Regions of an image at most.
        positive_fraction: Largest share of foreground among them.
        sampler: The order in which proposals are taken.
    """
    lists = [torch.cat([p, gt[:n]]) for p, gt, n in zip(proposals, targets.boxes, targets.counts, strict=True)]
    candidates = pad_sequence(lists, batch_first=True)
    counts = torch.tensor([[len(boxes)] for boxes in lists]).to(candidates.device, non_blocking=True)
    valid = torch.arange(candidates.shape[1], device=candidates.device) < counts
    match = matcher(box_iou(targets.boxes, candidates))
    drawn, taken = sample_indices(
        torch.where(valid, match.labels, IGNORED),
        num_samples=num_samples,
        positive_fraction=positive_fraction,
        sampler=sampler,
        counts=[len(boxes) for boxes in lists],
    )
    image, slot = torch.nonzero(taken, as_tuple=True)
    chosen = drawn[image, slot]
    rois = torch.cat([image[:, None].to(candidates.dtype), candidates[image, chosen]], dim=1)
    matched = Match(match.indices[image, chosen], match.labels[image, chosen])
    return _with_ground_truth(rois, matched, targets, num_classes)
