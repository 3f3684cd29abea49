"""The targets of a batch in tensors of one shape, so that all images can be matched at once."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cutler_pl.ops.boxes import box_iou
from cutler_pl.ops.groups import effective_group_size, row_weights
from cutler_pl.types import Target, target_scores


class PaddedTargets(NamedTuple):
    """At least one row per image; rows beyond its objects have an empty box, which overlaps nothing, and class 0."""

    boxes: Float[Tensor, "batch gt 4"]
    classes: Int64[Tensor, "batch gt"]
    """Counted from 0."""
    scores: Float[Tensor, "batch gt"]
    """How far each object can be trusted, from 0 to 1."""
    counts: list[int]
    """Objects of each image."""
    group_size: int
    """Images per group, over which losses are normalised."""
    ignore_iou: Float[Tensor, " batch"] | None = None
    """IoU up to which regions of each image are ignored (`Target`), -1 for none; None where no image has one."""

    def row_weights(self, images: Int64[Tensor, " rows"]) -> Float[Tensor, " rows"] | None:
        """Weights that make a sum over rows the mean over groups; None for one group. `images`: each row's image."""
        return row_weights(images, num_images=len(self.counts), group_size=self.group_size)

    def matched(self, boxes: Float[Tensor, "rows 4"], images: Int64[Tensor, " rows"]) -> Bool[Tensor, " rows"] | None:
        """Which boxes overlap an object of their image by more than its `ignore_iou`; None where all count."""
        if self.ignore_iou is None:
            return None
        best = box_iou(boxes.float()[:, None], self.boxes[images])[:, 0].amax(dim=1)
        return best > self.ignore_iou[images]


def pad_targets(targets: Sequence[Target], *, group_size: int | None = None) -> PaddedTargets:
    """Put the objects of all images into tensors of one shape.

    Args:
        targets: Ground truth of each image.
        group_size: Images per group; None, or what the images are no multiple of: one group.
    """
    size = effective_group_size(len(targets), group_size)
    boxes = pad_sequence([target["boxes"].float() for target in targets], batch_first=True)
    classes = pad_sequence([target["labels"] - 1 for target in targets], batch_first=True)
    scores = pad_sequence([target_scores(target).float() for target in targets], batch_first=True)
    counts = [len(target["boxes"]) for target in targets]
    if boxes.shape[1] == 0:
        boxes, classes, scores = (part.new_zeros(len(targets), 1, *part.shape[2:]) for part in (boxes, classes, scores))
    return PaddedTargets(boxes, classes, scores, counts, size, _ignore_iou(targets, boxes.device))


def _ignore_iou(targets: Sequence[Target], device: torch.device) -> Float[Tensor, " batch"] | None:
    if not any("ignore_iou" in target for target in targets):
        return None
    return torch.tensor([target.get("ignore_iou", -1.0) for target in targets]).to(device, non_blocking=True)
