"""The stages of the box head: each refines the boxes of the one before and is trained at a higher IoU.

Cascade R-CNN with three stages; a plain Mask R-CNN is the case of one. Scores are averaged over the stages, boxes are
those of the last one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cutler_pl.models.box_coder import BoxWeights, decode_boxes, encode_boxes
from cutler_pl.models.config import DetectorConfig
from cutler_pl.models.droploss import StagePrediction
from cutler_pl.models.heads import BOX_POOL_SIZE, BoxStage
from cutler_pl.models.losses import box_regression_loss, classification_loss
from cutler_pl.models.pooler import pool_boxes, to_rois
from cutler_pl.models.proposals import LabeledProposals, label_proposals, stage_matcher
from cutler_pl.models.targets import PaddedTargets
from cutler_pl.ops.boxes import nonempty


class StageOutput(NamedTuple):
    """What one stage says about proposals."""

    logits: Float[Tensor, "proposals classes"]
    deltas: Float[Tensor, "proposals columns"]
    boxes: Float[Tensor, "proposals choices 4"]
    """Decoded, not clipped, without gradient: one box, or one for each class."""


class ScoredBoxes(NamedTuple):
    """Class scores and boxes of the proposals of one image."""

    scores: Float[Tensor, "boxes classes"]
    """Probabilities of the classes; the background's, which came last, is left out."""
    boxes: Float[Tensor, "boxes choices 4"]
    """Not clipped: one box, or one for each class."""


class BoxCascade(nn.ModuleList):
    """The stages of the box head.

    Args:
        config: Number of stages, their IoUs and box weights, and how large they are.
    """

    def __init__(self, config: DetectorConfig) -> None:
        num_boxes = 1 if config.class_agnostic_boxes else config.num_classes
        super().__init__(
            BoxStage(config.fpn_channels, config.box_head_dim, config.num_classes, num_boxes) for _ in config.stage_ious
        )
        self.config = config
        self.matchers = [stage_matcher(iou) for iou in config.stage_ious]

    def forward(self, features: Sequence[Tensor], rois: Float[Tensor, "proposals 5"], stage: int) -> StageOutput:
        """Run one stage.

        Args:
            features: The pyramid.
            rois: Index of the image, then the box.
            stage: Which one; the first is 0.
        """
        pooled = pool_boxes(features, rois, BOX_POOL_SIZE)
        logits, deltas = self[stage](_scale_gradient(pooled, 1 / len(self)))
        choices = deltas.detach().unflatten(1, (-1, 4))
        boxes = rois[:, None, 1:].expand(-1, choices.shape[1], -1)
        return StageOutput(logits, deltas, decode_boxes(boxes, choices, self._box_weights(stage)))

    def losses(
        self,
        features: Sequence[Tensor],
        proposals: LabeledProposals,
        targets: PaddedTargets,
        bounds: Float[Tensor, "batch 4"],
    ) -> dict[str, Float[Tensor, ""]]:
        """Class and box losses of every stage; later stages are matched anew with the boxes of the one before.

        Args:
            features: The pyramid.
            proposals: Sampled proposals, labelled for the first stage.
            targets: Ground truth of the batch.
            bounds: What the boxes of each image are clipped to, of the `ImageBatch`.
        """
        losses: dict[str, Tensor] = {}
        num_classes = self.config.num_classes
        for stage in range(len(self)):
            output = self(features, proposals.rois, stage)
            weights = self._classification_weights(output, proposals, targets, stage)
            target_deltas = encode_boxes(proposals.boxes, proposals.gt_boxes, self._box_weights(stage))
            rows = targets.row_weights(proposals.images)
            scores = proposals.scores if self.config.soft_targets else None
            suffix = f"_stage{stage}" if len(self) > 1 else ""
            losses[f"loss_cls{suffix}"] = classification_loss(
                output.logits, proposals.classes, weights, scores=scores, row_weights=rows
            )
            losses[f"loss_box_reg{suffix}"] = box_regression_loss(
                output.deltas, proposals.classes, target_deltas, num_classes=num_classes, scores=scores,
                row_weights=rows,
            )  # fmt: skip
            if stage + 1 < len(self):
                rois = _next_rois(output, proposals.rois, bounds)
                rois = rois[torch.nonzero(nonempty(rois[:, 1:]))[:, 0]]
                proposals = label_proposals(rois, targets, self.matchers[stage + 1], num_classes=num_classes)
        return losses

    def predict(
        self, features: Sequence[Tensor], proposals: Sequence[Float[Tensor, "_ 4"]], bounds: Float[Tensor, "batch 4"]
    ) -> list[ScoredBoxes]:
        """Mean scores of all stages and boxes of the last one, for every proposal of each image."""
        rois, counts = to_rois(proposals), [boxes.shape[0] for boxes in proposals]
        probabilities = []
        for stage in range(len(self)):
            output = self(features, rois, stage)
            probabilities.append(output.logits.softmax(dim=1))
            rois = _next_rois(output, rois, bounds)
        mean = torch.stack(probabilities).mean(dim=0)[:, :-1]
        images = zip(torch.split(mean, counts), torch.split(output.boxes, counts), strict=True)
        return [ScoredBoxes(scores, boxes) for scores, boxes in images]

    def _classification_weights(
        self, output: StageOutput, proposals: LabeledProposals, targets: PaddedTargets, stage: int
    ) -> Tensor | None:
        weigh = self.config.classification_weights
        if weigh is None and targets.ignore_iou is None:
            return None
        choice = proposals.gt_classes if output.boxes.shape[1] > 1 else torch.zeros_like(proposals.gt_classes)
        predicted = output.boxes[torch.arange(len(choice), device=choice.device), choice]
        matched = targets.matched(predicted, proposals.images)
        if weigh is None:
            return None if matched is None else matched.float()
        counts = proposals.per_image(len(targets.counts))
        own_boxes = torch.split(proposals.gt_boxes, counts)
        images = zip(torch.split(predicted, counts), own_boxes, targets.boxes, targets.counts, strict=True)
        predictions = [
            StagePrediction(boxes, own, gt[:n], group=i // targets.group_size)
            for i, (boxes, own, gt, n) in enumerate(images)
        ]
        weights = weigh(predictions, stage=stage)
        return weights if matched is None else weights * matched

    def _box_weights(self, stage: int) -> BoxWeights:
        return self.config.stage_box_weights[stage]


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


def _next_rois(output: StageOutput, rois: Tensor, bounds: Tensor) -> Tensor:
    boxes = output.boxes[:, 0].clamp(min=0).minimum(bounds[rois[:, 0].long()])
    return torch.cat([rois[:, :1], boxes], dim=1)
