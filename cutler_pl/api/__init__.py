"""What `cutler_pl` exports: a detector, MaskCut, and the result of both."""

from cutler_pl.api.cutler import CutLER
from cutler_pl.api.maskcut import MaskCut
from cutler_pl.api.result import Result

__all__ = ["CutLER", "MaskCut", "Result"]
