"""Callbacks, one per module."""

from cutler_pl.training.callbacks.coco_evaluator import CocoEvaluator
from cutler_pl.training.callbacks.ema_weights import EMAWeights
from cutler_pl.training.callbacks.first_steps import FirstSteps
from cutler_pl.training.callbacks.precise_bn import PreciseBatchNorm
from cutler_pl.training.callbacks.prediction_writer import PredictionWriter
from cutler_pl.training.callbacks.progress import StepProgressBar
from cutler_pl.training.callbacks.rank_watch import RankWatch
from cutler_pl.training.callbacks.step_checkpoint import StepCheckpoint
from cutler_pl.training.callbacks.stop_on_signal import StopOnSignal
from cutler_pl.training.callbacks.throughput import Throughput
from cutler_pl.training.callbacks.time_budget import TimeBudget
from cutler_pl.training.callbacks.visual_samples import VisualSamples

__all__ = [
    "CocoEvaluator",
    "EMAWeights",
    "FirstSteps",
    "PreciseBatchNorm",
    "PredictionWriter",
    "RankWatch",
    "StepCheckpoint",
    "StepProgressBar",
    "StopOnSignal",
    "Throughput",
    "TimeBudget",
    "VisualSamples",
]
