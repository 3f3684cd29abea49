"""Training with Lightning: the module, optimiser, schedules, gradient clipping, callbacks and loggers."""

from typing import TYPE_CHECKING

from cutler_pl.runtime.lazy import lazy_exports

if TYPE_CHECKING:
    from cutler_pl.training.module import DetectorModule

__all__ = ["DetectorModule"]

__getattr__ = lazy_exports(__name__, {"cutler_pl.training.module": "DetectorModule"})
