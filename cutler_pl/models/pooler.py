"""Features of regions: RoIAlign from the pyramid level that suits a region's size.

Aligned, with as many samples in a cell as it is pixels wide (torchvision's detectors: unaligned, 2×2 samples).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import roi_align

from cutler_pl.models.backbone import STRIDES
from cutler_pl.models.roi_align_cpu import roi_align_cpu
from cutler_pl.ops.boxes import box_area

POOLED_STRIDES = STRIDES[:4]
_CANONICAL_SIDE, _CANONICAL_LEVEL = 224, 2  # a box of 224 pixels belongs to p4, the third level


def assign_levels(boxes: Float[Tensor, "boxes 4"]) -> Int64[Tensor, " boxes"]:
    """Index of the level of each box: one up for each doubling of its side (FPN paper, Eq. 1)."""
    side = box_area(boxes).sqrt()
    level = torch.floor(_CANONICAL_LEVEL + torch.log2(side / _CANONICAL_SIDE + 1e-8))
    return level.clamp(0, len(POOLED_STRIDES) - 1).long()


def pool_regions(
    features: Sequence[Tensor], boxes: Sequence[Float[Tensor, "_ 4"]], size: int
) -> Float[Tensor, "regions channels size size"]:
    """Pool the boxes of all images, images in order.

    Args:
        features: Maps p2 to p5 (others are left aside), each (batch, channels, height, width).
        boxes: Boxes of each image in pixels of the batch.
        size: Cells along each side of the result.
    """
    counts = torch.tensor([len(b) for b in boxes])
    together = torch.cat(list(boxes)).float()
    image = torch.repeat_interleave(torch.arange(len(boxes)), counts).to(together.device, non_blocking=True)
    rois = torch.cat([image[:, None].to(together.dtype), together], dim=1)
    levels = assign_levels(together)
    order = levels.argsort(stable=True)
    per_level = torch.bincount(levels, minlength=len(POOLED_STRIDES)).tolist()
    pooled = [
        _roi_align(level, part, size, 1 / stride)
        for level, part, stride in zip(features, torch.split(rois[order], per_level), POOLED_STRIDES, strict=False)
        if len(part) or len(rois) == 0
    ]
    return torch.cat(pooled)[order.argsort()]


def _roi_align(level: Tensor, rois: Tensor, size: int, spatial_scale: float) -> Tensor:
    if level.device.type == "cpu" and not torch.compiler.is_exporting():
        return roi_align_cpu(level, rois, size, spatial_scale=spatial_scale)
    pooled: Tensor = roi_align(level, rois, size, spatial_scale=spatial_scale, sampling_ratio=0, aligned=True)
    return pooled
