"""4-connected components of masks and hole filling, batched.

On a GPU by kernels where CuPy is installed, else by kornia; on the CPU by scipy, which is faster there.
"""

from pathlib import Path

import kornia
import numpy as np
import scipy.ndimage
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from cutler_pl.runtime.cuda_kernels import Kernels, kernels_for

SOURCE = Path(__file__).parent / "cuda" / "components.cu"


def label_components(
    masks: Bool[Tensor, "batch height width"], *, kernels: Kernels | None = None
) -> Int64[Tensor, "batch height width"]:
    """Label the 4-connected components of each mask.

    Args:
        masks: On any device.
        kernels: The kernels of `SOURCE`; those of the masks' device where not given.

    Returns:
        For each pixel the row-major index of the first pixel of its component; -1 for background.
    """
    kernels = kernels or kernels_for(SOURCE, masks.device)
    if kernels is not None:
        return _label_by_kernels(masks, kernels)
    return _label_by_scipy(masks) if masks.device.type == "cpu" else _label_by_kornia(masks)


def fill_holes(
    masks: Bool[Tensor, "batch height width"], *, kernels: Kernels | None = None
) -> Bool[Tensor, "batch height width"]:
    """Turn background that is not 4-connected to the border into foreground; `kernels` as for `label_components`."""
    by_scipy = masks.device.type == "cpu" and kernels is None
    return _fill_by_scipy(masks) if by_scipy else _fill_by_labels(masks, kernels)


def _fill_by_labels(
    masks: Bool[Tensor, "batch height width"], kernels: Kernels | None = None
) -> Bool[Tensor, "batch height width"]:
    labels = label_components(~masks, kernels=kernels).flatten(1)
    border = torch.zeros(masks.shape[1:], dtype=torch.bool, device=masks.device)
    if border.numel():
        border[[0, -1]] = True
        border[:, [0, -1]] = True
    # one more entry than pixels: foreground marks that one
    none = labels.shape[1]
    roots = torch.where(border.flatten() & (labels >= 0), labels, none)
    reached = torch.zeros(len(masks), none + 1, dtype=torch.bool, device=masks.device).scatter_(1, roots, True)
    open_background = reached.gather(1, labels.clamp(min=0)) & (labels >= 0)
    return ~open_background.view_as(masks)


def _label_by_kernels(
    masks: Bool[Tensor, "batch height width"], kernels: Kernels
) -> Int64[Tensor, "batch height width"]:
    masks = masks.contiguous()
    _, height, width = masks.shape
    parent = torch.empty(masks.shape, dtype=torch.int32, device=masks.device)
    labels = torch.empty_like(parent)
    kernels("components_start", masks.numel(), masks, parent)
    kernels("components_join", masks.numel(), masks, parent, height, width)
    kernels("components_label", masks.numel(), parent, labels, height * width)
    return labels.long()


def _label_by_kornia(masks: Bool[Tensor, "batch height width"]) -> Int64[Tensor, "batch height width"]:
    """Label by union-find on a doubled grid, with a cell between every two 4-neighbours.

    kornia's components are 8-connected. On the doubled grid pixels touch only through the cells between them, and each
    2×2 block holds one pixel, so that kornia's label, the first block of the component, is the first pixel.
    """
    batch, height, width = masks.shape
    doubled = masks.new_zeros(batch, 1, 2 * height, 2 * width)
    doubled[:, 0, ::2, ::2] = masks
    doubled[:, 0, ::2, 1:-1:2] = masks[:, :, :-1] & masks[:, :, 1:]
    doubled[:, 0, 1:-1:2, ::2] = masks[:, :-1] & masks[:, 1:]
    labels = kornia.contrib.connected_components_union_find(doubled)[:, 0, ::2, ::2]
    first = torch.arange(batch, device=masks.device)[:, None, None] * (height * width)
    return torch.where(masks, labels - 1 - first, -1)


def _label_by_scipy(masks: Bool[Tensor, "batch height width"]) -> Int64[Tensor, "batch height width"]:
    labels = np.full(masks.shape, -1, dtype=np.int64)
    for i, mask in enumerate(masks.numpy()):
        components, count = scipy.ndimage.label(mask)
        inside = np.flatnonzero(mask)[::-1]
        first = np.full(count + 1, -1, dtype=np.int64)
        first[components.reshape(-1)[inside]] = inside  # the last one written is the first pixel
        labels[i] = first[components]
    return torch.from_numpy(labels)


def _fill_by_scipy(masks: Bool[Tensor, "batch height width"]) -> Bool[Tensor, "batch height width"]:
    filled = masks.numpy().copy()
    for mask in filled:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            continue
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # background beyond it is open
        components, count = scipy.ndimage.label(~box)
        is_hole = np.ones(count + 1, dtype=bool)
        for edge in (components[0], components[-1], components[:, 0], components[:, -1]):
            is_hole[edge] = False
        is_hole[0] = True  # the mask itself
        box[:] = is_hole[components]
    return torch.from_numpy(filled)
