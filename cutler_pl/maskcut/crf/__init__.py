"""Full-resolution refinement of masks by a dense conditional random field."""

from cutler_pl.maskcut.crf.refine import CrfBackend, CrfParams, refine_masks

__all__ = ["CrfBackend", "CrfParams", "refine_masks"]
