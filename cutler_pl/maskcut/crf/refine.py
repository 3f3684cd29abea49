"""Refinement of masks to the image's edges: dense CRF, hole filling, acceptance.

The last step of MaskCut (CutLER, Section 3.2): a fully connected CRF with one Gaussian kernel over positions and one
over positions and colors, solved by ten mean-field iterations (Krähenbühl and Koltun, NeurIPS 2011), fits a mask of
patches to the edges of the image. Holes are filled, and a result whose IoU with its input is below one half is
rejected: the image does not support such an object. With two labels and Potts compatibility one channel per mask is
enough.
"""

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from cutler_pl.maskcut.crf.backends import CrfBackend, build_crf_backend
from cutler_pl.ops.components import fill_holes
from cutler_pl.ops.masks import paired_iou


def refine_masks(
    images: UInt8[Tensor, "batch 3 height width"],
    masks: Bool[Tensor, "batch rounds height width"],
    *,
    backend: str | CrfBackend = "auto",
) -> Bool[Tensor, "batch rounds height width"]:
    """Fit masks to the edges of their images, fill holes, and reject what the image does not support.

    Args:
        images: RGB, 0..255.
        masks: At image size.
        backend: As `build_crf_backend` makes it, or its name, with the constants of the original.

    Returns:
        The refined masks on the masks' device; a rejected mask is all False, an empty one stays empty.

    Raises:
        ConfigError: The backend is unknown.
    """
    if isinstance(backend, str):
        backend = build_crf_backend(backend)
    if masks.numel() == 0:
        return masks.clone()
    with torch.autocast(images.device.type, enabled=False):
        segmented = backend.segment(images, masks)
    filled = fill_holes(segmented.flatten(0, 1)).view_as(masks)
    rejected = paired_iou(filled, masks) < backend.params.min_iou  # as in the original, NaN of two empty masks is not
    return filled & ~rejected[:, :, None, None]
