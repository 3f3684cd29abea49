"""COCO measures of detections, and how they stand beside the published ones."""

from cutler_pl.evaluation.coco_eval import Comparison, compare, evaluate, evaluate_coco
from cutler_pl.evaluation.metrics import NOT_MEASURED, Curves, IouType

__all__ = [
    "NOT_MEASURED",
    "Comparison",
    "Curves",
    "IouType",
    "compare",
    "evaluate",
    "evaluate_coco",
]
