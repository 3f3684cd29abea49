"""The second half of the detector: box stages and mask head on proposals."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from cutler_pl.models.cascade import BoxCascade
from cutler_pl.models.config import DetectorConfig
from cutler_pl.models.detections import Detections, select_detections
from cutler_pl.models.heads import MASK_POOL_SIZE, MASK_SIZE, MaskHead
from cutler_pl.models.image_batch import ImageBatch
from cutler_pl.models.losses import mask_loss, mask_targets, mask_weights
from cutler_pl.models.pooler import pool_boxes, prepare_features, to_rois
from cutler_pl.models.proposals import LabeledProposals, sample_proposals
from cutler_pl.models.sampler import Sampler
from cutler_pl.models.targets import PaddedTargets


class RoIHeads(nn.Module):
    """Box stages and mask head.

    Args:
        config: Their sizes and thresholds.
        sampler: The order in which proposals are sampled for the losses.
    """

    def __init__(self, config: DetectorConfig, sampler: Sampler) -> None:
        super().__init__()
        self.config = config
        self.sampler = sampler
        self.stages = BoxCascade(config)
        self.mask_head = MaskHead(
            config.fpn_channels, config.mask_head_channels, config.mask_head_convs, config.num_classes
        )

    def losses(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[Float[Tensor, "_ 4"]],
        targets: PaddedTargets,
        masks: Sequence[Bool[Tensor, "_ _height _width"]],
        bounds: Float[Tensor, "batch 4"],
        confidences: Sequence[UInt8[Tensor, "_ _height _width"] | None] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Losses of all stages and of the masks, over a sample of the proposals and the ground truth.

        Args:
            features: The pyramid.
            proposals: Boxes of each image.
            targets: Ground truth of the batch.
            masks: Ground-truth masks of each image.
            bounds: What the boxes of each image are clipped to, of the `ImageBatch`.
            confidences: Confidence of each pixel of the masks, for the mask loss; None for 1 everywhere.
        """
        features = prepare_features(features)
        sampled = sample_proposals(
            proposals,
            targets,
            self.stages.matchers[0],
            num_classes=self.config.num_classes,
            num_samples=self.config.roi_batch_per_image,
            positive_fraction=self.config.roi_positive_fraction,
            sampler=self.sampler,
        )
        losses = self.stages.losses(features, sampled, targets, bounds)
        foreground = sampled.take(torch.nonzero(sampled.classes < self.config.num_classes)[:, 0])
        return losses | {"loss_mask": self._mask_loss(features, foreground, targets, masks, confidences)}

    def predict(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[Float[Tensor, "_ 4"]],
        batch: ImageBatch,
        *,
        score_threshold: float | None = None,
    ) -> list[tuple[Detections, Float[Tensor, "_ size size"]]]:
        """Detections of each image in pixels of the batch, and the mask probabilities of each detection."""
        config, features = self.config, prepare_features(features)
        scored = self.stages.predict(features, proposals, batch.bounds)
        detections = [
            select_detections(
                image,
                size_hw,
                score_threshold=config.score_threshold if score_threshold is None else score_threshold,
                nms_threshold=config.nms_threshold,
                max_detections=config.max_detections,
            )
            for image, size_hw in zip(scored, batch.sizes_hw, strict=True)
        ]
        logits = self.mask_logits(features, to_rois([d.boxes for d in detections]))
        classes = torch.cat([d.classes for d in detections])
        own = logits[torch.arange(logits.shape[0], device=logits.device), classes].float().sigmoid()
        return list(zip(detections, torch.split(own, [d.boxes.shape[0] for d in detections]), strict=True))

    def mask_logits(
        self, features: Sequence[Tensor], rois: Float[Tensor, "proposals 5"]
    ) -> Float[Tensor, "proposals classes size size"]:
        """Mask logits of each class for each region of interest."""
        logits: Tensor = self.mask_head(pool_boxes(features, rois, MASK_POOL_SIZE))
        return logits

    def _mask_loss(
        self,
        features: Sequence[Tensor],
        foreground: LabeledProposals,
        targets: PaddedTargets,
        masks: Sequence[Tensor],
        confidences: Sequence[Tensor | None] | None,
    ) -> Tensor:
        counts = foreground.per_image(len(masks))
        rois = [*zip(torch.split(foreground.boxes, counts), torch.split(foreground.gt_indices, counts), strict=True)]
        wanted = [mask_targets(gt, *of_image, size=MASK_SIZE) for gt, of_image in zip(masks, rois, strict=True)]
        pixel_weights = None
        if confidences is not None and any(confidence is not None for confidence in confidences):
            weights = [
                torch.ones_like(target, dtype=torch.float32)
                if confidence is None
                else mask_weights(confidence, *of_image, size=MASK_SIZE)
                for confidence, target, of_image in zip(confidences, wanted, rois, strict=True)
            ]
            pixel_weights = torch.cat(weights)
        return mask_loss(
            self.mask_logits(features, foreground.rois),
            foreground.classes,
            torch.cat(wanted),
            scores=foreground.scores if self.config.soft_targets else None,
            pixel_weights=pixel_weights,
            row_weights=targets.row_weights(foreground.images),
        )
