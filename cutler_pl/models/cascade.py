"""The box heads in a row: each stage refines the boxes of the one before and is trained at a higher IoU.

Cascade R-CNN with three stages; a plain Mask R-CNN is the case of one. Scores are averaged over the stages, boxes are
those of the last one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cutler_pl.models.box_coder import BoxWeights, decode_boxes, encode_boxes
from cutler_pl.models.droploss import ScoredRegions
from cutler_pl.models.heads import BOX_CELLS, BoxStage
from cutler_pl.models.losses import box_regression_loss, classification_loss
from cutler_pl.models.params import DetectorParams
from cutler_pl.models.pooler import pool_regions
from cutler_pl.models.regions import LabelledRegions, label_regions, stage_matcher
from cutler_pl.ops.boxes import clip_boxes, nonempty
from cutler_pl.types import Target

SizesHW = Sequence[tuple[int, int]]


class StageOutput(NamedTuple):
    """What one stage says about the regions of all images, images in order."""

    logits: Float[Tensor, "regions classes"]
    deltas: Float[Tensor, "regions columns"]
    boxes: Float[Tensor, "regions columns 4"]
    """Decoded, not clipped, without gradient: one box, or one for each class."""


class ScoredBoxes(NamedTuple):
    """Class scores and boxes of the regions of one image."""

    scores: Float[Tensor, "boxes classes"]
    """Probabilities of the classes; the background's, which came last, is left out."""
    boxes: Float[Tensor, "boxes columns 4"]
    """Not clipped: one box, or one for each class."""


class BoxCascade(nn.ModuleList):
    """The stages of the box head.

    Args:
        params: Number of stages, their IoUs and box weights, and how large they are.
    """

    def __init__(self, params: DetectorParams) -> None:
        num_boxes = 1 if params.class_agnostic_boxes else params.num_classes
        super().__init__(
            BoxStage(params.fpn_channels, params.box_head_dim, params.num_classes, num_boxes) for _ in params.stage_ious
        )
        self.params = params
        self.matchers = [stage_matcher(iou) for iou in params.stage_ious]

    def forward(self, features: Sequence[Tensor], boxes: Sequence[Tensor], stage: int) -> StageOutput:
        """Run one stage.

        Args:
            features: The pyramid.
            boxes: Boxes of each image.
            stage: Which one; the first is 0.
        """
        pooled = pool_regions(features, boxes, BOX_CELLS)
        logits, deltas = self[stage](_scale_gradient(pooled, 1 / len(self)))
        repeated = torch.cat(list(boxes))[:, None].expand(-1, deltas.shape[1] // 4, -1)
        decoded = decode_boxes(repeated, deltas.detach().unflatten(1, (-1, 4)), self._box_weights(stage))
        return StageOutput(logits, deltas, decoded)

    def losses(
        self,
        features: Sequence[Tensor],
        regions: Sequence[LabelledRegions],
        targets: Sequence[Target],
        sizes_hw: SizesHW,
    ) -> dict[str, Float[Tensor, ""]]:
        """Class and box losses of every stage; later stages are matched anew with the boxes of the one before.

        Args:
            features: The pyramid.
            regions: Sampled regions of each image, labelled for the first stage.
            targets: Ground truth of each image.
            sizes_hw: Size of each image without padding.
        """
        losses: dict[str, Tensor] = {}
        for stage in range(len(self)):
            output = self(features, [r.boxes for r in regions], stage)
            suffix = f"_stage{stage}" if len(self) > 1 else ""
            losses |= {f"{name}{suffix}": loss for name, loss in self._stage_losses(output, regions, targets, stage)}
            if stage + 1 < len(self):
                regions = self._next_regions(output, regions, targets, sizes_hw, stage + 1)
        return losses

    def predict(
        self, features: Sequence[Tensor], proposals: Sequence[Float[Tensor, "_ 4"]], sizes_hw: SizesHW
    ) -> list[ScoredBoxes]:
        """Mean scores of all stages and boxes of the last one, for every proposal of each image."""
        boxes, counts = list(proposals), [len(p) for p in proposals]
        probabilities = []
        for stage in range(len(self)):
            output = self(features, boxes, stage)
            probabilities.append(output.logits.softmax(dim=1))
            if stage + 1 < len(self):
                boxes = _clip_each(torch.split(output.boxes[:, 0], counts), sizes_hw)
        mean = torch.stack(probabilities).mean(dim=0)[:, :-1]
        return [
            ScoredBoxes(*image)
            for image in zip(torch.split(mean, counts), torch.split(output.boxes, counts), strict=True)
        ]

    def _stage_losses(
        self, output: StageOutput, regions: Sequence[LabelledRegions], targets: Sequence[Target], stage: int
    ) -> list[tuple[str, Tensor]]:
        together = LabelledRegions(*(torch.cat(parts) for parts in zip(*regions, strict=True)))
        deltas = encode_boxes(together.boxes, together.gt_boxes, self._box_weights(stage))
        num_classes = self.params.num_classes
        return [
            (
                "loss_cls",
                classification_loss(output.logits, together.classes, self._weights(output, regions, targets, stage)),
            ),
            (
                "loss_box_reg",
                box_regression_loss(output.deltas, together.classes, deltas, num_classes=num_classes),
            ),
        ]

    def _weights(
        self, output: StageOutput, regions: Sequence[LabelledRegions], targets: Sequence[Target], stage: int
    ) -> Tensor | None:
        weigh = self.params.classification_weights
        if weigh is None:
            return None
        scored = []
        for boxes, region, target in zip(torch.split(output.boxes, _counts(regions)), regions, targets, strict=True):
            column = region.gt_classes if boxes.shape[1] > 1 else torch.zeros_like(region.gt_classes)
            predicted = boxes[torch.arange(len(boxes), device=boxes.device), column]
            scored.append(ScoredRegions(predicted, region.gt_boxes, target["boxes"].float()))
        return weigh(scored, stage=stage)

    @torch.no_grad()
    def _next_regions(
        self,
        output: StageOutput,
        regions: Sequence[LabelledRegions],
        targets: Sequence[Target],
        sizes_hw: SizesHW,
        stage: int,
    ) -> list[LabelledRegions]:
        boxes = _clip_each(torch.split(output.boxes[:, 0], _counts(regions)), sizes_hw)
        return [
            label_regions(b[nonempty(b)], target, self.matchers[stage], num_classes=self.params.num_classes)
            for b, target in zip(boxes, targets, strict=True)
        ]

    def _box_weights(self, stage: int) -> BoxWeights:
        return self.params.stage_box_weights[stage]


class _GradientScale(torch.autograd.Function):
    """Identity whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def _scale_gradient(x: Tensor, factor: float) -> Tensor:
    if factor == 1 or not x.requires_grad:
        return x
    scaled: Tensor = _GradientScale.apply(x, factor)
    return scaled


def _clip_each(boxes: Sequence[Tensor], sizes_hw: SizesHW) -> list[Tensor]:
    return [clip_boxes(b, size_hw) for b, size_hw in zip(boxes, sizes_hw, strict=True)]


def _counts(regions: Sequence[LabelledRegions]) -> list[int]:
    return [len(r.boxes) for r in regions]
