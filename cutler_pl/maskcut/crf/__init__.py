"""Refinement of masks to the image's edges; see `refine`."""

from cutler_pl.maskcut.crf.backends import CrfBackend, build_crf_backend
from cutler_pl.maskcut.crf.params import CrfParams, GuidedParams
from cutler_pl.maskcut.crf.refine import refine_masks

__all__ = ["CrfBackend", "CrfParams", "GuidedParams", "build_crf_backend", "refine_masks"]
