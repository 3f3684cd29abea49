"""CutLER on PyTorch Lightning: unsupervised object detection and instance segmentation.

    from cutler_pl import CutLER, MaskCut
    result = CutLER.from_pretrained("cutler_cascade_final").predict("image.jpg", score_threshold=0.35)
    masks = MaskCut("dino_vits16").predict("image.jpg")

Paper: Wang et al., "Cut and Learn for Unsupervised Object Detection and Instance Segmentation", CVPR 2023.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cutler_pl.api import CutLER, MaskCut, Result

__all__ = ["CutLER", "MaskCut", "Result"]


def __getattr__(name: str) -> Any:
    """Import torch with the first use of a class, not with the package."""
    if name in __all__:
        return getattr(import_module("cutler_pl.api"), name)
    raise AttributeError(f"module 'cutler_pl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
