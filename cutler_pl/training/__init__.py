"""Training with Lightning: the module, optimiser, schedules, gradient clipping, callbacks and loggers."""

from cutler_pl.training.module import DetectorModule
from cutler_pl.training.restore import describe_detector, restore_detector

__all__ = ["DetectorModule", "describe_detector", "restore_detector"]
