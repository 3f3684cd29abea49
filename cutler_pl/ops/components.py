"""Connected parts of masks and the filling of holes, batched: on the masks' device where kernels are given."""

from pathlib import Path

import numpy as np
import scipy.ndimage
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from cutler_pl.runtime.kernels import Kernels, kernels_for

SOURCE = Path(__file__).parent / "cuda" / "components.cu"


def label_parts(
    masks: Bool[Tensor, "batch height width"], *, kernels: Kernels | None = None
) -> Int64[Tensor, "batch height width"]:
    """Number the 4-connected parts of each mask.

    Args:
        masks: On any device.
        kernels: The kernels of `SOURCE`; those of the masks' device where not given.

    Returns:
        For each pixel the row-major place of the first pixel of its part, -1 outside.
    """
    kernels = kernels or kernels_for(SOURCE, masks.device)
    if kernels is None:
        labels = [_label_one(mask) for mask in masks.cpu().numpy()]
        stacked = np.stack(labels) if labels else np.zeros(masks.shape, dtype=np.int64)
        return torch.from_numpy(stacked).to(masks.device)
    masks = masks.contiguous()
    _, height, width = masks.shape
    parent = torch.empty(masks.shape, dtype=torch.int32, device=masks.device)
    labels_there = torch.empty_like(parent)
    kernels("components_start", masks.numel(), masks, parent)
    kernels("components_join", masks.numel(), masks, parent, height, width)
    kernels("components_label", masks.numel(), parent, labels_there, height * width)
    return labels_there.long()


def fill_holes(
    masks: Bool[Tensor, "batch height width"], *, kernels: Kernels | None = None
) -> Bool[Tensor, "batch height width"]:
    """Turn background that is not 4-connected to the border into foreground.

    Args:
        masks: On any device.
        kernels: As for `label_parts`.
    """
    labels = label_parts(~masks, kernels=kernels).flatten(1)
    border = torch.zeros(masks.shape[1:], dtype=torch.bool, device=masks.device)
    if border.numel():
        border[[0, -1]] = True
        border[:, [0, -1]] = True
    # one place more than pixels: what is no background marks that one
    nowhere = labels.shape[1]
    places = torch.where(border.flatten() & (labels >= 0), labels, nowhere)
    outside = torch.zeros(len(masks), nowhere + 1, dtype=torch.bool, device=masks.device).scatter_(1, places, True)
    open_background = outside.gather(1, labels.clamp(min=0)) & (labels >= 0)
    return ~open_background.view_as(masks)


def _label_one(mask: Bool[np.ndarray, "height width"]) -> Int64[np.ndarray, "height width"]:
    parts, count = scipy.ndimage.label(mask)
    inside = np.flatnonzero(mask)[::-1]
    first = np.full(count + 1, -1, dtype=np.int64)
    first[parts.reshape(-1)[inside]] = inside  # the last one written is the first pixel
    labels: Int64[np.ndarray, "height width"] = first[parts]
    return labels
