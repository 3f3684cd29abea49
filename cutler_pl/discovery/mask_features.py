"""One feature vector per mask: the mean of the patch features inside it, of length 1."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional as F

from cutler_pl.coco.mask_pixels import draw_masks
from cutler_pl.coco.schema import RLE

_SUBPIXELS = 4  # per patch and direction, of which those inside the mask are counted
_MASKS_AT_ONCE = 256


def mask_features(
    features: Float[Tensor, "dim h w"], masks: Sequence[RLE], boxes_xywh: Float[np.ndarray, "boxes 4"]
) -> Float32[np.ndarray, "boxes dim"]:
    """Mean of the features of the patches of each mask, weighted by the share of the patch inside, scaled to length 1.

    Args:
        features: Of one image, on any device.
        masks: Compressed run lengths at the image's size.
        boxes_xywh: Their boxes; the patch at the center stands for a mask that is too small to have a patch.
    """
    found = [
        _mean_features(features, masks[start : start + _MASKS_AT_ONCE], boxes_xywh[start : start + _MASKS_AT_ONCE])
        for start in range(0, len(masks), _MASKS_AT_ONCE)
    ]
    return np.concatenate([part.cpu().numpy() for part in found])


def _mean_features(
    features: Float[Tensor, "dim h w"], masks: Sequence[RLE], boxes_xywh: Float[np.ndarray, "boxes 4"]
) -> Float32[Tensor, "boxes dim"]:
    _, h, w = features.shape
    drawn = np.zeros((len(masks), h * _SUBPIXELS, w * _SUBPIXELS), dtype=np.uint8)
    has_pixels = draw_masks(masks, drawn)
    weights = np.zeros((len(masks), h, w), dtype=np.float32)
    inside = drawn[: int(has_pixels.sum())].reshape(-1, h, _SUBPIXELS, w, _SUBPIXELS)
    weights[has_pixels] = inside.mean((2, 4), dtype=np.float32)
    for i in np.flatnonzero(~has_pixels).tolist():
        height, width = masks[i]["size"]
        x, y, box_width, box_height = boxes_xywh[i]
        row, column = (y + box_height / 2) / height * h, (x + box_width / 2) / width * w
        weights[i, int(np.clip(row, 0, h - 1)), int(np.clip(column, 0, w - 1))] = 1
    on_device = torch.from_numpy(weights).to(features.device)
    return F.normalize(on_device.flatten(1) @ features.float().flatten(1).T, dim=1)
