"""The second half of the detector: box stages and mask head on regions of the image."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cutler_pl.models.cascade import BoxCascade, SizesHW
from cutler_pl.models.detections import Detections, select_detections
from cutler_pl.models.heads import MASK_CELLS, MASK_SIZE, MaskHead
from cutler_pl.models.losses import mask_loss, mask_targets
from cutler_pl.models.matching import Sampler
from cutler_pl.models.params import DetectorParams
from cutler_pl.models.pooler import pool_regions
from cutler_pl.models.regions import LabelledRegions, sample_regions
from cutler_pl.types import Target


class RoIHeads(nn.Module):
    """Box stages and mask head.

    Args:
        params: Their sizes and thresholds.
        sampler: Which regions the losses look at.
    """

    def __init__(self, params: DetectorParams, sampler: Sampler) -> None:
        super().__init__()
        self.params = params
        self.sampler = sampler
        self.stages = BoxCascade(params)
        self.mask_head = MaskHead(
            params.fpn_channels, params.mask_head_channels, params.mask_head_convs, params.num_classes
        )

    def losses(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[Float[Tensor, "_ 4"]],
        targets: Sequence[Target],
        sizes_hw: SizesHW,
    ) -> dict[str, Float[Tensor, ""]]:
        """Losses of all stages and of the masks, over a sample of the proposals and the ground truth.

        Args:
            features: The pyramid.
            proposals: Boxes of each image.
            targets: Ground truth of each image.
            sizes_hw: Size of each image without padding.
        """
        regions = [self._sample(boxes, target) for boxes, target in zip(proposals, targets, strict=True)]
        losses = self.stages.losses(features, regions, targets, sizes_hw)
        foreground = [r.take(r.classes < self.params.num_classes) for r in regions]
        return losses | {"loss_mask": self._mask_loss(features, foreground, targets)}

    def predict(
        self, features: Sequence[Tensor], proposals: Sequence[Float[Tensor, "_ 4"]], sizes_hw: SizesHW
    ) -> list[tuple[Detections, Float[Tensor, "_ size size"]]]:
        """Detections of each image in pixels of the batch, and the mask probabilities of each detection."""
        params = self.params
        detections = [
            select_detections(
                scored,
                size_hw,
                score_threshold=params.score_threshold,
                nms_threshold=params.nms_threshold,
                limit=params.detections_per_image,
            )
            for scored, size_hw in zip(self.stages.predict(features, proposals, sizes_hw), sizes_hw, strict=True)
        ]
        logits = self.mask_logits(features, [d.boxes for d in detections])
        classes = torch.cat([d.classes for d in detections])
        own = logits[torch.arange(len(logits), device=logits.device), classes].float().sigmoid()
        return list(zip(detections, torch.split(own, [len(d.boxes) for d in detections]), strict=True))

    def mask_logits(
        self, features: Sequence[Tensor], boxes: Sequence[Float[Tensor, "_ 4"]]
    ) -> Float[Tensor, "regions classes size size"]:
        """Mask of each class for the boxes of all images, images in order."""
        logits: Tensor = self.mask_head(pool_regions(features, boxes, MASK_CELLS))
        return logits

    def _sample(self, proposals: Tensor, target: Target) -> LabelledRegions:
        return sample_regions(
            proposals,
            target,
            self.stages.matchers[0],
            num_classes=self.params.num_classes,
            num_samples=self.params.roi_batch_per_image,
            positive_fraction=self.params.roi_positive_fraction,
            sampler=self.sampler,
        )

    def _mask_loss(
        self, features: Sequence[Tensor], foreground: Sequence[LabelledRegions], targets: Sequence[Target]
    ) -> Tensor:
        wanted = [
            mask_targets(target["masks"], r.boxes, r.gt_indices, size=MASK_SIZE)
            for r, target in zip(foreground, targets, strict=True)
        ]
        logits = self.mask_logits(features, [r.boxes for r in foreground])
        return mask_loss(logits, torch.cat([r.classes for r in foreground]), torch.cat(wanted))
