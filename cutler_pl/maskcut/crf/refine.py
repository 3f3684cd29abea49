"""Refinement of masks to the photo's edges: dense CRF, hole filling, acceptance.

The last step of MaskCut (CutLER sec. 3.2): a fully connected CRF with one Gaussian kernel over positions and one over
positions and colours, solved by ten mean-field iterations (Krähenbühl and Koltun, NeurIPS 2011), pulls a patch-sized
mask to the edges of the image. Holes are filled, and a result that shares less than half with its input is rejected:
the image does not support such an object. With two labels and Potts compatibility one channel a mask is enough.
"""

import importlib
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from cutler_pl.errors import ConfigError
from cutler_pl.runtime.imports import cupy_or_none


@dataclass(frozen=True, kw_only=True)
class CrfParams:
    """Constants of the dense CRF, as in the original's code; deviations in pixels and in 8-bit grey levels."""

    iterations: int = 10
    gaussian_sigma: float = 3.0
    gaussian_weight: float = 7.0
    bilateral_sigma: float = 50.0
    color_sigma: float = 5.0
    bilateral_weight: float = 10.0
    min_iou: float = 0.5


@runtime_checkable
class CrfBackend(Protocol):
    """A way to solve the CRF; each gives the same masks up to pixels whose probability is 0.5 within rounding."""

    def segment(
        self,
        images: UInt8[Tensor, "batch 3 height width"],
        masks: Bool[Tensor, "batch rounds height width"],
        params: CrfParams,
    ) -> Bool[Tensor, "batch rounds height width"]:
        """Most probable labelling of each mask after the mean-field iterations."""
        ...

    def fill_holes(self, masks: Bool[Tensor, "batch rounds height width"]) -> Bool[Tensor, "batch rounds height width"]:
        """Turn background that is not 4-connected to the border into foreground."""
        ...


CRF_BACKENDS: dict[str, str] = {
    "numba": "cutler_pl.maskcut.crf.numba:NumbaCrf",
    "cuda": "cutler_pl.maskcut.crf.cuda:CudaCrf",
}
"""Backend name to `module:class`, imported when first used."""


def refine_masks(
    images: UInt8[Tensor, "batch 3 height width"],
    masks: Bool[Tensor, "batch rounds height width"],
    *,
    backend: str | CrfBackend = "auto",
    params: CrfParams | None = None,
) -> Bool[Tensor, "batch rounds height width"]:
    """Fit masks to the edges of their images, fill holes, and reject what the image does not support.

    Args:
        images: RGB, 0..255.
        masks: At image size.
        backend: Name of a backend, or the object itself; `auto` is `cuda` for images on a GPU where CuPy is there.
        params: Constants of the CRF; the original's where not given.

    Returns:
        The refined masks on the masks' device; a rejected mask is all False, an empty one stays empty.

    Raises:
        ConfigError: The backend is unknown.
    """
    params = params or CrfParams()
    if masks.numel() == 0:
        return masks.clone()
    solver = _backend(backend, images.device)
    with torch.autocast(images.device.type, enabled=False):
        filled = solver.fill_holes(solver.segment(images, masks, params)).to(masks.device)
    intersection = (filled & masks).sum((2, 3))
    union = (filled | masks).sum((2, 3))
    # The original's 0 / 0 is not below the limit: two empty masks agree. float64 as there; 0.5 itself is exact.
    accepted = (union == 0) | (intersection.double() >= params.min_iou * union.double())
    return filled & accepted[:, :, None, None]


def _backend(backend: str | CrfBackend, device: torch.device) -> CrfBackend:
    if not isinstance(backend, str):
        return backend
    automatic = "cuda" if device.type == "cuda" and cupy_or_none() is not None else "numba"
    name = automatic if backend == "auto" else backend
    if name not in CRF_BACKENDS:
        raise ConfigError(f"unknown CRF backend {name!r}; choose one of: auto, {', '.join(CRF_BACKENDS)}")
    module, _, attribute = CRF_BACKENDS[name].partition(":")
    return cast(CrfBackend, getattr(importlib.import_module(module), attribute)())
