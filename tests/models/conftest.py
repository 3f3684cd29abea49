"""Detectors with the golden numbers' weights."""

from golden_detectors import detectron2_state, golden_detector

__all__ = ["detectron2_state", "golden_detector"]
