"""DropLoss (CutLER, section 3.3): the classification loss leaves out proposals that overlap no pseudo ground truth.

MaskCut misses objects; a proposal on a missed object would be punished as background. So the loss of proposal i is kept
only if its best IoU with the ground truth is above τ (`iou_thresh`, 0.01). The proposal is the box the stage predicts,
decoded but not clipped. Only the classification loss is weighted, and the mean still counts the dropped proposals.

`DropLoss` is the paper's equation. `DropLossOriginal` gives the weights of the released code, which compares with a
part of the ground truth and treats images without ground truth differently.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cutler_pl.ops.boxes import box_iou
from cutler_pl.runtime.ranges import Share, check_arguments


class StagePrediction(NamedTuple):
    """What one stage of the box head predicts for the sampled proposals of one image."""

    predicted_boxes: Float[Tensor, "boxes 4"]
    """Boxes that the stage predicts: its input boxes moved by its own deltas, not clipped."""
    matched_gt_boxes: Float[Tensor, "boxes 4"]
    """The ground truth each proposal was matched with, background included; anything where there is none."""
    gt_boxes: Float[Tensor, "gt 4"]
    """All ground truth of the image."""
    group: int = 0
    """Group of the image in its batch (`data.group_size`)."""


@runtime_checkable
class ClassificationWeights(Protocol):
    """What the detector takes as `classification_weights`: one weight per proposal, images in order."""

    def __call__(self, images: Sequence[StagePrediction], *, stage: int) -> Float[Tensor, " proposals"]:
        """Weights of one stage of the box head; the first is 0."""


@torch.no_grad()
def droploss_weights(
    boxes: Float[Tensor, "*batch boxes 4"], gt_boxes: Float[Tensor, "*batch gt 4"], iou_thresh: float
) -> Float[Tensor, "*batch boxes"]:
    """Weight 1 for boxes whose best IoU with the ground truth is above the threshold, else 0.

    Args:
        boxes: Predicted boxes of one image (or, with an axis before, of several), xyxy pixels.
        gt_boxes: All ground truth of that image. Without any, nothing tells missed objects apart: all weights are 1.
        iou_thresh: τ of the paper; an IoU equal to it is dropped.

    Returns:
        Weights without gradient, float32.
    """
    if gt_boxes.shape[-2] == 0:
        return torch.ones(boxes.shape[:-1], dtype=torch.float32, device=boxes.device)
    return (box_iou(boxes.float(), gt_boxes.float()).amax(dim=-1) > iou_thresh).float()


class DropLoss:
    """Weights by the paper's equation: every proposal is compared with all ground truth of its image.

    Args:
        iou_thresh: τ of the paper.
    """

    @check_arguments("model.detector.classification_weights.")
    def __init__(self, iou_thresh: Share = 0.01) -> None:
        self.iou_thresh = iou_thresh

    @torch.no_grad()
    def __call__(self, images: Sequence[StagePrediction], *, stage: int) -> Float[Tensor, " proposals"]:
        """Weights of one stage, all images at once; `stage` makes no difference."""
        boxes = pad_sequence([image.predicted_boxes.float() for image in images], batch_first=True)
        gt_boxes = pad_sequence([image.gt_boxes.float() for image in images], batch_first=True)
        weights = droploss_weights(boxes, gt_boxes, self.iou_thresh)
        rows = zip(weights, images, strict=True)
        return torch.cat(
            [
                row[: len(image.predicted_boxes)]
                if len(image.gt_boxes)
                else torch.ones_like(image.predicted_boxes[:, 0])
                for row, image in rows
            ]
        )


class DropLossOriginal:
    """Weights of the released code, for comparison with its numbers.

    It compares with the matched boxes of the first n proposals, n being the number of different boxes among the matches
    of the first 100 proposals: a draw from the ground truth, not all of it. One image without ground truth switches the
    weighting off for its whole group in the first stage, and drops all of that image's proposals in later ones.

    Args:
        iou_thresh: τ of the paper.
    """

    MAX_MATCHES = 100

    @check_arguments("model.detector.classification_weights.")
    def __init__(self, iou_thresh: Share = 0.01) -> None:
        self.iou_thresh = iou_thresh

    def __call__(self, images: Sequence[StagePrediction], *, stage: int) -> Float[Tensor, " proposals"]:
        """Weights of one stage; the first is 0."""
        off = {image.group for image in images if stage == 0 and len(image.gt_boxes) == 0}
        return torch.cat([self._ones(image) if image.group in off else self._weights(image) for image in images])

    def _ones(self, image: StagePrediction) -> Tensor:
        return torch.ones_like(image.predicted_boxes[:, 0], dtype=torch.float32)

    def _weights(self, image: StagePrediction) -> Tensor:
        if len(image.gt_boxes) == 0 or len(image.predicted_boxes) == 0:
            return torch.zeros_like(image.predicted_boxes[:, 0], dtype=torch.float32)
        num_different = len(torch.unique(image.matched_gt_boxes[: self.MAX_MATCHES], dim=0))
        return droploss_weights(image.predicted_boxes, image.matched_gt_boxes[:num_different], self.iou_thresh)
