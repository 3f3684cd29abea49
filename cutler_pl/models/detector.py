"""The whole detector: images in, losses or predictions out."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cutler_pl.models.backbone import build_backbone
from cutler_pl.models.config import SIZE_DIVISOR, DetectorConfig, make_config
from cutler_pl.models.detections import CompactPrediction, rescale_to_original
from cutler_pl.models.image_batch import ImageBatch, batch_images, check_images
from cutler_pl.models.roi_heads import RoIHeads
from cutler_pl.models.rpn import RPN
from cutler_pl.models.sampler import RandomSampler
from cutler_pl.models.targets import pad_targets
from cutler_pl.ops.paste import paste_masks
from cutler_pl.ops.resize import resize_image, resized_size_hw
from cutler_pl.types import Prediction, Target


class Detector(nn.Module):
    """Mask R-CNN with one box stage or a cascade of them.

    Images are lists of uint8 RGB tensors (3, height, width), of any sizes. In training they are taken at the size they
    have; in inference each is resized first, and results are in the pixels of the image that was given.

    Args:
        config: Every choice about it.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.sampler = RandomSampler() if config.sampler is None else config.sampler
        self.backbone = build_backbone(config.backbone, channels=config.fpn_channels, norm=config.norm)
        self.rpn = RPN(config, self.sampler)
        self.roi_heads = RoIHeads(config, self.sampler)
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std), persistent=False)
        if config.compile_backbone:
            self.backbone.compile()

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Target] | None = None, *, group_size: int | None = None
    ) -> dict[str, Float[Tensor, ""]] | list[Prediction]:
        """Losses in training, whose sum is the total loss; predictions otherwise.

        Args:
            images: uint8 RGB (3, height, width), on the device of the model.
            targets: Ground truth of each image, in training only.
            group_size: Losses are means over groups of so many consecutive images; None, or what the number of images
                is no multiple of: the batch is one group.

        Raises:
            TypeError: The images are not what the detector takes.
            ValueError: An image has the wrong shape, or targets are missing or not one per image.
        """
        if self.training:
            return self._losses(images, targets, group_size)
        return [to_prediction(compact) for compact in self.predict(images)]

    @torch.no_grad()
    def predict(
        self, images: Sequence[Tensor], *, score_threshold: float | None = None, scale: float = 1.0
    ) -> list[CompactPrediction]:
        """Predictions with masks as the mask head gives them, for callers that make them full-size one by one.

        Args:
            images: uint8 RGB (3, height, width), on the device of the model.
            score_threshold: Detections score above it; None for that of the config.
            scale: The test size of the config is multiplied by it, and so is the cap of the longer side.

        Raises:
            RuntimeError: The model is in training mode.
            TypeError: The images are not what the detector takes.
            ValueError: An image has the wrong shape.
        """
        if self.training:
            raise RuntimeError("the detector is in training mode; call eval() before predicting")
        check_images(images)
        if not images:
            return []
        size, cap = (max(1, round(side * scale)) for side in (self.config.min_size_test, self.config.max_size_test))
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        resized = [
            resize_image(image, resized_size_hw(size_hw, shortest=size, longest=cap))
            for image, size_hw in zip(images, sizes, strict=True)
        ]
        batch = self.batch(resized)
        features = self.backbone(batch.pixels)
        proposals = [p.boxes for p in self.rpn.propose(self.rpn(features), batch.bounds)]
        results = self.roi_heads.predict(features, proposals, batch, score_threshold=score_threshold)
        return [
            rescale_to_original(detections, masks, resized_hw=resized_hw, size_hw=size_hw)
            for (detections, masks), resized_hw, size_hw in zip(results, batch.sizes_hw, sizes, strict=True)
        ]

    def batch(self, images: Sequence[Tensor]) -> ImageBatch:
        """Normalised images in one padded tensor, as the backbone takes them."""
        return batch_images(
            images, self.pixel_mean, self.pixel_std, divisor=SIZE_DIVISOR, channels_last=self.config.channels_last
        )

    def reseed(self, keys: Sequence[Sequence[int]]) -> None:
        """Start the random sampling of anchors and proposals: one key per image of the next batch."""
        if isinstance(self.sampler, RandomSampler):
            self.sampler.reseed(keys)

    def _losses(
        self, images: Sequence[Tensor], targets: Sequence[Target] | None, group_size: int | None
    ) -> dict[str, Tensor]:
        check_images(images)
        if targets is None or len(targets) != len(images) or not images:
            found = "none" if targets is None else str(len(targets))
            raise ValueError(f"training needs images and one target for each: found {len(images)} and {found}")
        batch = self.batch(images)
        features = self.backbone(batch.pixels)
        output = self.rpn(features)
        proposals = [p.boxes for p in self.rpn.propose(output, batch.bounds)]
        padded, masks = pad_targets(targets, group_size=group_size), [target["masks"] for target in targets]
        losses: dict[str, Tensor] = self.rpn.losses(output, padded)
        confidences = [target.get("confidence") for target in targets] if self.config.pixel_confidence else None
        return losses | self.roi_heads.losses(features, proposals, padded, masks, batch.bounds, confidences)


def build_detector(name: str, num_classes: int = 1, **options: Any) -> Detector:
    """Build a detector with randomly initialised weights.

    Called on a list of uint8 RGB images (3, height, width), it gives predictions in eval mode (boxes as xyxy pixels of
    the image given, scores, labels from 1, masks) and, called with targets, a dict of losses in training mode.

    Args:
        name: `cascade_mask_rcnn_r50_fpn` or `mask_rcnn_r50_fpn`; both have the recipe of the paper's unsupervised
            training as their defaults, weights aside.
        num_classes: Classes without the background.
        **options: Fields of `DetectorConfig`.

    Raises:
        ConfigError: The name or an option does not exist, or a value cannot work.
    """
    return Detector(make_config(name, num_classes=num_classes, **options))


def to_prediction(compact: CompactPrediction) -> Prediction:
    """A prediction with full-size masks."""
    masks = paste_masks(compact["mask_probabilities"], compact["boxes"], compact["size_hw"])
    return Prediction(boxes=compact["boxes"], scores=compact["scores"], labels=compact["labels"], masks=masks)
