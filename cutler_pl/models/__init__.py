"""The detectors: networks, matching, losses, weights."""

from cutler_pl.models.build import build_detector
from cutler_pl.models.checkpoints import LoadReport, load_weights
from cutler_pl.models.detector import Detector
from cutler_pl.models.params import DetectorParams

__all__ = ["Detector", "DetectorParams", "LoadReport", "build_detector", "load_weights"]
