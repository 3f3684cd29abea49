"""Region proposals: which anchors hold an object, and their boxes after suppression."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor, nn
from torchvision.ops import batched_nms

from cutler_pl.models.anchors import cell_anchors, grid_anchors
from cutler_pl.models.backbone import STRIDES
from cutler_pl.models.box_coder import BoxWeights, decode_boxes, encode_boxes
from cutler_pl.models.heads import RPNHead
from cutler_pl.models.losses import rpn_losses
from cutler_pl.models.matching import IGNORED, NEGATIVE, POSITIVE, Matcher, Sampler, sample_labels
from cutler_pl.models.params import DetectorParams
from cutler_pl.ops.boxes import box_iou, nonempty
from cutler_pl.types import Target

_WEIGHTS: BoxWeights = (1.0, 1.0, 1.0, 1.0)


class RPNOutput(NamedTuple):
    """What the network says about every anchor, level by level."""

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
        params: Its thresholds and sizes.
        sampler: Which anchors the loss looks at.
    """

    cells: Tensor

    def __init__(self, params: DetectorParams, sampler: Sampler) -> None:
        super().__init__()
        self.params = params
        self.sampler = sampler
        self.head = RPNHead(params.fpn_channels, len(params.anchor_ratios))
        cells = torch.stack([cell_anchors(size, params.anchor_ratios) for size in params.anchor_sizes])
        self.register_buffer("cells", cells, persistent=False)
        self.matcher = Matcher(params.rpn_iou_thresholds, (NEGATIVE, IGNORED, POSITIVE), allow_low_quality_matches=True)

    def forward(self, features: Sequence[Tensor]) -> RPNOutput:
        """Judge the anchors of all levels."""
        outputs = [self.head(level) for level in features]
        sizes = [(level.shape[2], level.shape[3]) for level in features]
        anchors = [grid_anchors(*level) for level in zip(self.cells, sizes, STRIDES, strict=True)]
        return RPNOutput(anchors, [logits for logits, _ in outputs], [deltas for _, deltas in outputs])

    @torch.no_grad()
    def propose(self, output: RPNOutput, sizes_hw: Sequence[tuple[int, int]]) -> list[Proposals]:
        """Best boxes of each image, clipped to it, after suppression within each level.

        Args:
            output: Of `forward`.
            sizes_hw: Size of each image without padding.
        """
        params = self.params
        before = params.rpn_pre_nms_train if self.training else params.rpn_pre_nms_test
        after = params.rpn_post_nms_train if self.training else params.rpn_post_nms_test
        boxes, logits, levels = _best_of_each_level(output, before)
        heights_widths = boxes.new_tensor(sizes_hw)
        boxes = boxes.clamp(min=0).minimum(heights_widths[:, [1, 0, 1, 0]][:, None])
        proposals = []
        for image_boxes, image_logits in zip(boxes, logits, strict=True):
            usable = nonempty(image_boxes) & image_boxes.isfinite().all(dim=1) & image_logits.isfinite()
            b, s, level = image_boxes[usable], image_logits[usable], levels[usable]
            kept = batched_nms(b, s, level, params.rpn_nms_threshold)[:after]
            proposals.append(Proposals(b[kept], s[kept]))
        return proposals

    def losses(self, output: RPNOutput, targets: Sequence[Target]) -> dict[str, Float[Tensor, ""]]:
        """Objectness and box losses over a sample of anchors."""
        anchors = torch.cat(output.anchors)
        labels, deltas = zip(*(self._label(anchors, target) for target in targets), strict=True)
        return rpn_losses(
            torch.cat(output.logits, dim=1),
            torch.cat(output.deltas, dim=1),
            torch.stack(labels),
            torch.stack(deltas),
            normaliser=self.params.rpn_batch_per_image * len(targets),
        )

    @torch.no_grad()
    def _label(
        self, anchors: Float[Tensor, "anchors 4"], target: Target
    ) -> tuple[Int8[Tensor, " anchors"], Float[Tensor, "anchors 4"]]:
        gt_boxes = target["boxes"].float()
        indices, labels = self.matcher(box_iou(gt_boxes, anchors))
        sampled = sample_labels(
            labels,
            num_samples=self.params.rpn_batch_per_image,
            positive_fraction=self.params.rpn_positive_fraction,
            sampler=self.sampler,
        )
        matched = gt_boxes[indices] if len(gt_boxes) else anchors
        return sampled, encode_boxes(anchors, matched, _WEIGHTS)


def _best_of_each_level(
    output: RPNOutput, limit: int
) -> tuple[Float[Tensor, "batch boxes 4"], Float[Tensor, "batch boxes"], Int64[Tensor, " boxes"]]:
    """Decode only the anchors that can matter; also the level each comes from."""
    boxes, logits, levels = [], [], []
    for i, (anchors, level_logits, deltas) in enumerate(zip(*output, strict=True)):
        best, chosen = level_logits.topk(min(limit, len(anchors)), dim=1)
        rows = torch.arange(len(chosen), device=chosen.device)[:, None]
        boxes.append(decode_boxes(anchors[chosen], deltas[rows, chosen], _WEIGHTS))
        logits.append(best)
        levels.append(torch.full_like(chosen[0], i))
    return torch.cat(boxes, dim=1), torch.cat(logits, dim=1), torch.cat(levels)
