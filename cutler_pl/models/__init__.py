"""The detectors: networks, matching, losses, weights."""

from cutler_pl.models.build import build_detector
from cutler_pl.models.detector import Detector
from cutler_pl.models.params import DetectorParams

__all__ = ["Detector", "DetectorParams", "build_detector"]
