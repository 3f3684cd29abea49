"""The detectors: networks, matching, losses, checkpoints. None of it imports Lightning."""

from typing import TYPE_CHECKING

from cutler_pl.runtime.lazy import lazy_exports

if TYPE_CHECKING:
    from cutler_pl.models.checkpoint import DetectorMetadata, load_detector
    from cutler_pl.models.config import DetectorConfig
    from cutler_pl.models.detector import Detector, build_detector
    from cutler_pl.weights.load import LoadReport, load_weights

__all__ = [
    "Detector",
    "DetectorConfig",
    "DetectorMetadata",
    "LoadReport",
    "build_detector",
    "load_detector",
    "load_weights",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "cutler_pl.models.checkpoint": "DetectorMetadata load_detector",
        "cutler_pl.models.config": "DetectorConfig",
        "cutler_pl.models.detector": "Detector build_detector",
        "cutler_pl.weights.load": "LoadReport load_weights",
    },
)
