"""From scored boxes to detections: threshold, suppression, the best so many, and back to the pixels of the image."""

from typing import NamedTuple, TypedDict, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import batched_nms, nms

from cutler_pl.models.cascade import ScoredBoxes
from cutler_pl.ops.boxes import clip_boxes, nonempty


class Detections(NamedTuple):
    """Detections of one image, best first; classes count from 0."""

    boxes: Float[Tensor, "boxes 4"]
    scores: Float[Tensor, " boxes"]
    classes: Int64[Tensor, " boxes"]


@final
class CompactPrediction(TypedDict):
    """Detections of one image in its pixels; masks are still small, `paste_masks` makes them full-size."""

    boxes: Float[Tensor, "boxes 4"]
    scores: Float[Tensor, " boxes"]
    labels: Int64[Tensor, " boxes"]
    mask_probabilities: Float[Tensor, "boxes size size"]
    size_hw: tuple[int, int]


def select_detections(
    scored: ScoredBoxes, size_hw: tuple[int, int], *, score_threshold: float, nms_threshold: float, max_detections: int
) -> Detections:
    """Detections among the proposals of an image: every class that scores above the threshold is a candidate.

    Args:
        scored: Scores and boxes of the proposals.
        size_hw: Size the boxes are clipped to.
        score_threshold: Scores must be above it.
        nms_threshold: IoU above which the weaker of two boxes of a class goes.
        max_detections: Most detections.
    """
    boxes = scored.boxes.expand(-1, scored.scores.shape[1], -1)
    finite = boxes.isfinite().all(dim=2) & scored.scores.isfinite()
    rows, classes = torch.nonzero(finite & (scored.scores > score_threshold), as_tuple=True)
    candidates, scores = clip_boxes(boxes[rows, classes], size_hw), scored.scores[rows, classes]
    if torch.compiler.is_exporting():  # batched_nms chooses its way by the number of boxes, which a graph cannot
        side = torch.sym_max(*size_hw) + 1
        keep = nms(candidates + classes[:, None] * side, scores, nms_threshold)[:max_detections]
    else:
        keep = batched_nms(candidates, scores, classes, nms_threshold)[:max_detections]
    return Detections(candidates[keep], scores[keep], classes[keep])


def rescale_to_original(
    detections: Detections,
    mask_probabilities: Float[Tensor, "boxes size size"],
    *,
    resized_hw: tuple[int, int],
    size_hw: tuple[int, int],
) -> CompactPrediction:
    """Detections in the pixels of the image before it was resized; boxes that are empty there are left out."""
    scale = torch.tensor([size_hw[i % 2] / resized_hw[i % 2] for i in (1, 0, 1, 0)])
    boxes = clip_boxes(detections.boxes * scale.to(detections.boxes), size_hw)
    keep = nonempty(boxes)
    return CompactPrediction(
        boxes=boxes[keep],
        scores=detections.scores[keep],
        labels=detections.classes[keep] + 1,
        mask_probabilities=mask_probabilities[keep],
        size_hw=size_hw,
    )
