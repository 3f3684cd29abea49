"""MaskCut: masks of several objects per image from frozen self-supervised features, without training.

Section 3.2 of the CutLER paper. Read `pipeline` first; `features` before it and `crf` after it.
"""

from typing import TYPE_CHECKING

from cutler_pl.runtime.lazy import lazy_exports

if TYPE_CHECKING:
    from cutler_pl.maskcut.crf import refine_masks
    from cutler_pl.maskcut.features import build_feature_extractor
    from cutler_pl.maskcut.params import MaskCutParams
    from cutler_pl.maskcut.pipeline import MaskCutResult, maskcut

__all__ = ["MaskCutParams", "MaskCutResult", "build_feature_extractor", "maskcut", "refine_masks"]

__getattr__ = lazy_exports(
    __name__,
    {
        "cutler_pl.maskcut.crf": "refine_masks",
        "cutler_pl.maskcut.features": "build_feature_extractor",
        "cutler_pl.maskcut.params": "MaskCutParams",
        "cutler_pl.maskcut.pipeline": "MaskCutResult maskcut",
    },
)
