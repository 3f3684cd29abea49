"""Refinement of masks to the image's edges; see `refine`."""

from typing import TYPE_CHECKING

from cutler_pl.runtime.lazy import lazy_exports

if TYPE_CHECKING:
    from cutler_pl.maskcut.crf.backends import CrfBackend, build_crf_backend
    from cutler_pl.maskcut.crf.params import CrfParams, GuidedParams
    from cutler_pl.maskcut.crf.refine import refine_masks

__all__ = ["CrfBackend", "CrfParams", "GuidedParams", "build_crf_backend", "refine_masks"]

__getattr__ = lazy_exports(
    __name__,
    {
        "cutler_pl.maskcut.crf.backends": "CrfBackend build_crf_backend",
        "cutler_pl.maskcut.crf.params": "CrfParams GuidedParams",
        "cutler_pl.maskcut.crf.refine": "refine_masks",
    },
)
