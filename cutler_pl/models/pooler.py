"""Features of proposals: RoIAlign from the pyramid level that suits the size of the box.

Aligned, with as many samples in a cell as it is pixels wide (torchvision's detectors: unaligned, 2×2 samples).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import roi_align

from cutler_pl.models.backbone import STRIDES
from cutler_pl.ops.boxes import box_area
from cutler_pl.ops.counts import count_each
from cutler_pl.ops.roi_align import roi_align_cpu

POOLED_STRIDES = STRIDES[:4]
_CANONICAL_SIDE, _CANONICAL_LEVEL = 224, 2  # a box of 224 pixels belongs to p4, the third level


def assign_levels(boxes: Float[Tensor, "boxes 4"]) -> Int64[Tensor, " boxes"]:
    """Index of the level of each box: one up for each doubling of its side (FPN paper, Eq. 1)."""
    side = box_area(boxes).sqrt()
    level = torch.floor(_CANONICAL_LEVEL + torch.log2(side / _CANONICAL_SIDE + 1e-8))
    return level.clamp(0, len(POOLED_STRIDES) - 1).long()


def to_rois(boxes: Sequence[Float[Tensor, "_ 4"]]) -> Float[Tensor, "proposals 5"]:
    """Boxes of all images in one tensor, each behind the index of its image; images in order."""
    together = torch.cat(list(boxes)).float()
    image = torch.cat([torch.full((b.shape[0],), i) for i, b in enumerate(boxes)])
    return torch.cat([image[:, None].to(together, non_blocking=True), together], dim=1)


def prepare_features(features: Sequence[Tensor]) -> list[Tensor]:
    """The maps that proposals are pooled from, in the precision and layout in which pooling reads them.

    Done once, since each stage and the mask head pool from the same maps.
    """
    layout = torch.channels_last if features[0].device.type == "cpu" else torch.contiguous_format
    return [level.float().contiguous(memory_format=layout) for level in features[: len(POOLED_STRIDES)]]


def pool_boxes(
    features: Sequence[Tensor], rois: Float[Tensor, "proposals 5"], size: int
) -> Float[Tensor, "proposals channels size size"]:
    """Pool proposals, each from its image and level.

    Args:
        features: Maps p2 to p5 (others are left aside), each (batch, channels, height, width).
        rois: Index of the image, then the box in pixels of the batch.
        size: Cells along each side of the result.
    """
    levels = assign_levels(rois[:, 1:])
    features, scales = features[: len(POOLED_STRIDES)], [1 / stride for stride in POOLED_STRIDES]
    if torch.compiler.is_exporting():  # no choice that depends on values: levels without proposals are pooled, too
        chosen = [torch.nonzero(levels == level)[:, 0] for level in range(len(POOLED_STRIDES))]
    elif rois.device.type == "cpu":
        return roi_align_cpu(features, rois, levels, size, spatial_scales=scales)
    else:
        chosen = list(torch.split(levels.argsort(stable=True), count_each(levels, len(POOLED_STRIDES))))
    pooled = [
        roi_align(level, rois[part], size, spatial_scale=scale, sampling_ratio=0, aligned=True)
        for level, part, scale in zip(features, chosen, scales, strict=True)
    ]
    return torch.cat(pooled)[torch.cat(chosen).argsort()]
