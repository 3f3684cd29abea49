"""MaskCut: masks of several objects per image from frozen self-supervised features, without training.

Section 3.2 of the CutLER paper. Read `pipeline` first; `features` before it and `crf` after it.
"""

from cutler_pl.maskcut.crf import refine_masks
from cutler_pl.maskcut.features import build_feature_extractor
from cutler_pl.maskcut.params import MaskCutParams
from cutler_pl.maskcut.pipeline import MaskCutResult, maskcut

__all__ = ["MaskCutParams", "MaskCutResult", "build_feature_extractor", "maskcut", "refine_masks"]
