"""COCO measures of detections, and how they stand beside the published ones."""

from cutler_pl.evaluation.coco_eval import Comparison, compare, evaluate, evaluate_coco
from cutler_pl.evaluation.metrics import NOT_MEASURED, IouType, PrecisionRecall

__all__ = [
    "NOT_MEASURED",
    "Comparison",
    "IouType",
    "PrecisionRecall",
    "compare",
    "evaluate",
    "evaluate_coco",
]
