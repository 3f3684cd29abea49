"""COCO metrics of detections, and published metrics to compare with."""

from cutler_pl.evaluation.coco_eval import Comparison, EvalParams, compare, evaluate_coco
from cutler_pl.evaluation.metrics import NOT_MEASURED, IouType, PrecisionRecall

__all__ = ["NOT_MEASURED", "Comparison", "EvalParams", "IouType", "PrecisionRecall", "compare", "evaluate_coco"]
