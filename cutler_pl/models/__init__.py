"""The detectors: networks, matching, losses, weights."""

from cutler_pl.models.build import build_detector
from cutler_pl.models.config import DetectorConfig
from cutler_pl.models.detector import Detector
from cutler_pl.weights.load import LoadReport, load_weights

__all__ = ["Detector", "DetectorConfig", "LoadReport", "build_detector", "load_weights"]
