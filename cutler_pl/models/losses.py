"""The detector's losses, each a pure function of predictions and targets that are already matched.

Forms and normalisers are those of detectron2: RPN sums over the sampled anchors divided by a fixed count, L1 box
regression (smooth L1 with β = 0) summed over foreground and divided by all sampled proposals, cross-entropy averaged
over all sampled proposals whatever their weight, binary cross-entropy averaged over the mask pixels of foreground
proposals. With `row_weights` (`ops.groups`), averages are taken within each group of images, then over the groups.

With `scores`, doubtful pseudo-masks count less (the soft targets of CuVLER): a score s is how far the matched mask can
be trusted. The target is s for the class and 1 - s for the background; box and mask losses are multiplied by s; the
divisors stay. Scores of 1 give the losses without scores, bit by bit. The region proposal network takes no scores.
With `pixel_weights`, the mask loss weighs each pixel, too (the confidence of CutS3D).

Everything is computed in float32, under autocast too. Empty inputs return a zero attached to the
graph, so that every parameter gets a gradient. Classes count from 0; the background is the class after the last.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int8, Int64, UInt8
from torch import Tensor
from torchvision.ops import roi_align

from cutler_pl.coco.confidence import CERTAIN
from cutler_pl.models.matcher import POSITIVE

_PIXELS_AT_ONCE = 2**25


def rpn_losses(
    logits: Float[Tensor, "batch anchors"],
    deltas: Float[Tensor, "batch anchors 4"],
    labels: Int8[Tensor, "batch anchors"],
    target_deltas: Float[Tensor, "batch anchors 4"],
    *,
    normaliser: int,
) -> dict[str, Float[Tensor, ""]]:
    """Objectness and box losses of the region proposal network.

    Args:
        logits: Objectness of each anchor.
        deltas: Predicted box deltas.
        labels: Sampled labels: 1 foreground, 0 background, -1 not sampled.
        target_deltas: Deltas from each anchor to its matched ground truth; read where the label is 1 only, so other
            rows may hold anything.
        normaliser: Both sums are divided by it: samples per image times images, however many were sampled.

    Returns:
        `loss_rpn_cls` and `loss_rpn_loc`.
    """
    logits, positive = logits.float(), labels == POSITIVE
    entropy = F.binary_cross_entropy_with_logits(logits, positive.float(), reduction="none")
    return {
        "loss_rpn_cls": torch.where(labels >= 0, entropy, 0.0).sum() / normaliser,
        "loss_rpn_loc": _l1_where(positive, deltas.float(), target_deltas.float()).sum() / normaliser,
    }


def classification_loss(
    logits: Float[Tensor, "proposals classes"],
    classes: Int64[Tensor, " proposals"],
    weights: Float[Tensor, " proposals"] | None = None,
    *,
    scores: Float[Tensor, " proposals"] | None = None,
    row_weights: Float[Tensor, " proposals"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy averaged over all proposals, each weighted; dropped proposals count in the average.

    Args:
        logits: Scores of the classes, background last.
        classes: Class of each proposal.
        weights: One weight per proposal (DropLoss), None for 1 everywhere.
        scores: Probability that the target gives to the class, the rest being the background's; None for 1 everywhere.
        row_weights: Share of each proposal in the average; None for equal ones.
    """
    logits = logits.float()
    if len(logits) == 0:
        return logits.sum()
    losses = F.cross_entropy(logits, classes, reduction="none")
    if scores is not None:
        background = F.cross_entropy(logits, torch.full_like(classes, logits.shape[1] - 1), reduction="none")
        losses = scores * losses + (1 - scores) * background
    return _average(losses if weights is None else weights.detach() * losses, row_weights)


def box_regression_loss(
    deltas: Float[Tensor, "proposals columns"],
    classes: Int64[Tensor, " proposals"],
    target_deltas: Float[Tensor, "proposals 4"],
    *,
    num_classes: int,
    scores: Float[Tensor, " proposals"] | None = None,
    row_weights: Float[Tensor, " proposals"] | None = None,
) -> Float[Tensor, ""]:
    """L1 distance of the deltas, summed over foreground proposals and divided by the number of all proposals.

    Args:
        deltas: Predicted deltas: 4 columns for all classes together, or 4 for each class.
        classes: Class of each proposal; `num_classes` is background.
        target_deltas: Deltas to the matched ground truth; read in foreground rows only.
        num_classes: Number of classes without the background.
        scores: Factor of each proposal's loss; None for 1 everywhere.
        row_weights: Share of each proposal in the average; None for equal ones.
    """
    deltas = deltas.float()
    if len(deltas) == 0:
        return deltas.sum()
    if deltas.shape[1] != 4:
        rows = torch.arange(len(deltas), device=deltas.device)
        deltas = deltas.view(len(deltas), num_classes, 4)[rows, classes.clamp(max=num_classes - 1)]
    losses = _l1_where(classes < num_classes, deltas, target_deltas.float())
    return _average(losses if scores is None else scores * losses, row_weights)


def mask_targets(
    masks: Bool[Tensor, "gt height width"],
    boxes: Float[Tensor, "boxes 4"],
    indices: Int64[Tensor, " boxes"],
    *,
    size: int = 28,
) -> Bool[Tensor, "boxes size size"]:
    """What the mask head should predict in each box: the ground-truth mask, averaged over cells, at least 0.5.

    Only a few full-size masks are turned to floats at a time, and never one per box.

    Args:
        masks: Ground-truth masks of one image.
        boxes: Foreground boxes in the pixels of the masks.
        indices: Ground truth of each box.
        size: Side of the mask head's output.
    """
    return _cells(masks, boxes, indices, size) >= 0.5


def mask_weights(
    confidence: UInt8[Tensor, "gt height width"],
    boxes: Float[Tensor, "boxes 4"],
    indices: Int64[Tensor, " boxes"],
    *,
    size: int = 28,
) -> Float[Tensor, "boxes size size"]:
    """How far each cell of `mask_targets` can be trusted, from 0 to 1: the confidence, averaged over cells.

    Args:
        confidence: Of each pixel of each ground truth of one image, 0 to 255.
        boxes: Foreground boxes in the pixels of the image; 1 outside of it.
        indices: Ground truth of each box.
        size: Side of the mask head's output.
    """
    doubt = _cells(CERTAIN - confidence, boxes, indices, size) / CERTAIN  # exactly 0 where all is certain
    return (1 - doubt).clamp(min=0)


def _cells(planes: Tensor, boxes: Tensor, indices: Tensor, size: int) -> Float[Tensor, "boxes size size"]:
    """Means of one plane in the cells of each box."""
    cells = torch.zeros((len(boxes), size, size), device=boxes.device)
    if len(boxes) == 0:
        return cells
    at_once = max(1, _PIXELS_AT_ONCE // max(1, planes.shape[1] * planes.shape[2]))
    whole = len(planes) <= at_once
    for start in range(0, len(planes), at_once):
        part = planes[start : start + at_once]
        chosen = slice(None) if whole else ((indices >= start) & (indices < start + len(part))).nonzero()[:, 0]
        rois = torch.cat([(indices[chosen] - start)[:, None].float(), boxes[chosen].float()], dim=1)
        pooled = roi_align(part[:, None].float(), rois, size, spatial_scale=1.0, sampling_ratio=0, aligned=True)
        cells[chosen] = pooled[:, 0]
    return cells


def mask_loss(
    logits: Float[Tensor, "boxes classes size size"],
    classes: Int64[Tensor, " boxes"],
    targets: Bool[Tensor, "boxes size size"],
    *,
    scores: Float[Tensor, " boxes"] | None = None,
    pixel_weights: Float[Tensor, "boxes size size"] | None = None,
    row_weights: Float[Tensor, " boxes"] | None = None,
) -> Float[Tensor, ""]:
    """Binary cross-entropy of the mask of each box's own class, averaged over all pixels of all boxes.

    Args:
        logits: Mask logits, one channel per class, or one for all.
        classes: Class of each foreground box.
        targets: As from `mask_targets`, images in order.
        scores: Factor of each box's loss; None for 1 everywhere.
        pixel_weights: Factor of each pixel's loss, as from `mask_weights`; None for 1 everywhere.
        row_weights: Share of each box in the average; None for equal ones.
    """
    if len(logits) == 0:
        return logits.float().sum()
    rows = torch.arange(len(logits), device=logits.device)
    chosen = logits[:, 0] if logits.shape[1] == 1 else logits[rows, classes]
    entropy = F.binary_cross_entropy_with_logits(chosen.float(), targets.float(), reduction="none")
    losses = (entropy if pixel_weights is None else pixel_weights * entropy).mean(dim=(1, 2))
    return _average(losses if scores is None else scores * losses, row_weights)


def _l1_where(used: Tensor, predicted: Tensor, target: Tensor) -> Tensor:
    """Absolute differences summed in each used row; what the targets hold elsewhere cannot leak, NaN included."""
    target = torch.where(used[..., None], target, predicted.detach())
    return (predicted - target).abs().sum(dim=-1)


def _average(losses: Float[Tensor, " rows"], row_weights: Float[Tensor, " rows"] | None) -> Float[Tensor, ""]:
    return losses.mean() if row_weights is None else (losses * row_weights).sum()
