"""Region proposal network: objectness and boxes of the anchors, and proposals after suppression."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int8, Int64, Shaped
from torch import Tensor, nn

from cutler_pl.models.anchors import cell_anchors, grid_anchors
from cutler_pl.models.backbone import STRIDES
from cutler_pl.models.box_coder import BoxWeights, decode_boxes, encode_boxes
from cutler_pl.models.config import DetectorConfig
from cutler_pl.models.heads import RPNHead
from cutler_pl.models.losses import rpn_losses
from cutler_pl.models.matcher import IGNORED, NEGATIVE, POSITIVE, Match, Matcher
from cutler_pl.models.sampler import Sampler, sample_labels
from cutler_pl.models.targets import PaddedTargets
from cutler_pl.ops.boxes import box_iou, nonempty
from cutler_pl.ops.nms import nms_sorted

_WEIGHTS: BoxWeights = (1.0, 1.0, 1.0, 1.0)
_PAIRS_AT_ONCE = 2**26


class RPNOutput(NamedTuple):
    """Anchors with their objectness and deltas, level by level."""

    anchors: list[Float[Tensor, "_ 4"]]
    logits: list[Float[Tensor, "batch _"]]
    deltas: list[Float[Tensor, "batch _ 4"]]


class Proposals(NamedTuple):
    """Proposals of one image, best first."""

    boxes: Float[Tensor, "boxes 4"]
    logits: Float[Tensor, " boxes"]


class RPN(nn.Module):
    """The region proposal network.

    Args:
        config: Its thresholds and sizes.
        sampler: The order in which anchors are sampled for the loss.
    """

    cells: Tensor

    def __init__(self, config: DetectorConfig, sampler: Sampler) -> None:
        super().__init__()
        self.config = config
        self.sampler = sampler
        self.head = RPNHead(config.fpn_channels, len(config.anchor_ratios))
        cells = torch.stack([cell_anchors(size, config.anchor_ratios) for size in config.anchor_sizes])
        self.register_buffer("cells", cells, persistent=False)
        self.matcher = Matcher(config.rpn_iou_thresholds, (NEGATIVE, IGNORED, POSITIVE), allow_low_quality_matches=True)

    def forward(self, features: Sequence[Tensor]) -> RPNOutput:
        """Predict objectness and deltas for every level."""
        outputs = [self.head(level) for level in features]
        sizes = [(level.shape[2], level.shape[3]) for level in features]
        anchors = [grid_anchors(*level) for level in zip(self.cells, sizes, STRIDES, strict=True)]
        return RPNOutput(anchors, [logits for logits, _ in outputs], [deltas for _, deltas in outputs])

    @torch.no_grad()
    def propose(self, output: RPNOutput, bounds: Float[Tensor, "batch 4"]) -> list[Proposals]:
        """Best boxes of each image, clipped to it, after suppression within each level.

        Args:
            output: Of `forward`.
            bounds: What the boxes of each image are clipped to, of the `ImageBatch`.
        """
        before = self.config.rpn_pre_nms_train if self.training else self.config.rpn_pre_nms_test
        after = self.config.rpn_post_nms_train if self.training else self.config.rpn_post_nms_test
        levels = [self._select(*level, bounds, before) for level in zip(*output, strict=True)]
        boxes, logits = (torch.cat(parts, dim=1) for parts in zip(*levels, strict=True))
        best, order = logits.topk(torch.sym_min(after, logits.shape[1]), dim=1)
        boxes = batched_gather(boxes, order)
        counts = (best > -torch.inf).sum(dim=1).tolist()
        return [Proposals(b[:n], s[:n]) for b, s, n in zip(boxes, best, counts, strict=True)]

    def losses(self, output: RPNOutput, targets: PaddedTargets) -> dict[str, Float[Tensor, ""]]:
        """Objectness and box losses over a sample of anchors."""
        labels, deltas = self._label(torch.cat(output.anchors), targets)
        return rpn_losses(
            torch.cat(output.logits, dim=1),
            torch.cat(output.deltas, dim=1),
            labels,
            deltas,
            normaliser=self.config.rpn_batch_per_image * len(targets.counts),
        )

    def _select(
        self, anchors: Tensor, logits: Tensor, deltas: Tensor, bounds: Tensor, count: int
    ) -> tuple[Float[Tensor, "batch boxes 4"], Float[Tensor, "batch boxes"]]:
        """Boxes of the best anchors, the only ones decoded; suppressed boxes get a logit of minus infinity."""
        best, chosen = logits.topk(torch.sym_min(count, anchors.shape[0]), dim=1)
        boxes = decode_boxes(anchors[chosen], batched_gather(deltas, chosen), _WEIGHTS)
        boxes = boxes.clamp(min=0).minimum(bounds[:, None])
        valid = nonempty(boxes) & boxes.isfinite().all(dim=2) & best.isfinite()
        keep = nms_sorted(boxes, valid, self.config.rpn_nms_threshold)
        return boxes, best.masked_fill(~keep, -torch.inf)

    @torch.no_grad()
    def _label(
        self, anchors: Float[Tensor, "anchors 4"], targets: PaddedTargets
    ) -> tuple[Int8[Tensor, "batch anchors"], Float[Tensor, "batch anchors 4"]]:
        """Sampled labels of the anchors in each image, and the deltas to the ground truth they are matched with."""
        at_once = max(1, _PAIRS_AT_ONCE // (targets.boxes.shape[1] * len(anchors)))
        parts = torch.split(targets.boxes, at_once)
        limits = [None] * len(parts) if targets.ignore_iou is None else torch.split(targets.ignore_iou, at_once)
        matches = [self._match(anchors, *part) for part in zip(parts, limits, strict=True)]
        indices, labels = (torch.cat(parts) for parts in zip(*matches, strict=True))
        sampled = sample_labels(
            labels,
            num_samples=self.config.rpn_batch_per_image,
            positive_fraction=self.config.rpn_positive_fraction,
            sampler=self.sampler,
        )
        matched = batched_gather(targets.boxes, indices)
        return sampled, encode_boxes(anchors.expand_as(matched), matched, _WEIGHTS)

    def _match(
        self, anchors: Tensor, gt_boxes: Float[Tensor, "batch gt 4"], ignore_iou: Float[Tensor, " batch"] | None
    ) -> Match:
        iou = box_iou(gt_boxes, anchors.expand(len(gt_boxes), -1, -1))
        indices, labels = self.matcher(iou)
        if ignore_iou is not None:
            unmatched = (labels == NEGATIVE) & (iou.amax(dim=1) <= ignore_iou[:, None])
            labels = labels.masked_fill(unmatched, IGNORED)
        return Match(indices, labels)


def batched_gather(
    values: Shaped[Tensor, "batch rows *each"], indices: Int64[Tensor, "batch picked"]
) -> Shaped[Tensor, "batch picked *each"]:
    """For each image the rows of its own values at the indices."""
    image = torch.arange(len(values), device=values.device)[:, None]
    return values[image, indices]
