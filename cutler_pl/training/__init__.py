"""Training with Lightning: the module, optimiser, schedules, gradient clipping and callbacks."""

from cutler_pl.training.module import DetectorModule, read_model_config

__all__ = ["DetectorModule", "read_model_config"]
