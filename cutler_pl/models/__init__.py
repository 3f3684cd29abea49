"""The detectors: networks, matching, losses, checkpoints. None of it imports Lightning."""

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
