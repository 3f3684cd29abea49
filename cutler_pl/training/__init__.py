"""Training with Lightning: the module, optimiser, schedules, gradient clipping, callbacks and loggers."""

from cutler_pl.training.module import DetectorModule

__all__ = ["DetectorModule"]
