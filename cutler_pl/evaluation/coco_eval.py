"""Class-agnostic and per-class COCO evaluation, with the same numbers as pycocotools.

`evaluation.ground_truth` and `evaluation.detections` read and check, `evaluation.engine` matches, `evaluation.metrics`
takes the means.
Unlike in pycocotools, a ground-truth annotation with id 0 counts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args

from cutler_pl.coco.schema import Category, Coco
from cutler_pl.coco.validation import OnError
from cutler_pl.evaluation.detections import Detections, load_detections
from cutler_pl.evaluation.engine import Engine
from cutler_pl.evaluation.ground_truth import load_ground_truth
from cutler_pl.evaluation.metrics import IouType, PrecisionRecall
from cutler_pl.runtime.garbage import paused_gc
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import COUNT, Choice, ListOf, check_fields

_AGNOSTIC: Category = {"id": 1, "name": "object"}

_log = get_logger(__name__)


@dataclass(frozen=True)
class EvalParams:
    """What is compared, and how many detections count.

    Attributes:
        iou_types: "bbox" for boxes, "segm" for masks. Sizes are those of what is compared: boxes or masks.
        class_agnostic: Take all categories of both sides for one.
        max_dets: Best detections of an image that count: the largest for AP, each for one AR.

    Raises:
        ConfigError: `iou_types` or `max_dets` cannot be used.
    """

    iou_types: Annotated[Sequence[str], ListOf(Choice(get_args(IouType)))] = ("bbox", "segm")
    class_agnostic: bool = True
    max_dets: Annotated[Sequence[int], ListOf(COUNT, rising=True)] = (1, 10, 100)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Comparison:
    """Ground truth, detections and the result of comparing them.

    Attributes:
        curves: By "bbox" and "segm".
        truth: The checked ground truth.
        detections: The checked detections.
        rejected_truth: One reason per record of the ground truth that was left out.
        rejected_detections: One reason per detection that was left out.
    """

    curves: dict[IouType, PrecisionRecall]
    truth: Coco
    detections: Detections
    rejected_truth: Sequence[str] = field(default_factory=list)
    rejected_detections: Sequence[str] = field(default_factory=list)


def evaluate_coco(
    ground_truth: str | Path | Mapping[str, Any],
    predictions: str | Path | Sequence[Mapping[str, Any]] | Mapping[str, Any],
    *,
    iou_types: Sequence[str] = ("bbox", "segm"),
    class_agnostic: bool = True,
    max_dets: Sequence[int] = (1, 10, 100),
) -> dict[IouType, dict[str, float]]:
    """Average precision and recall of detections, in percent.

    Args:
        ground_truth: COCO annotations, as path or content.
        predictions: COCO results, or COCO annotations (their score is 1 where they have none), as path or content.
        iou_types: As in `EvalParams`.
        class_agnostic: As in `EvalParams`.
        max_dets: As in `EvalParams`.

    Returns:
        By `iou_types`, the metrics AP, AP50, AP75, APs, APm, APl and an AR for each of `max_dets` (AR1, AR10,
        AR100). 0 where there is ground truth and nothing was found, `NOT_MEASURED` (-1) where there is none of
        that size; never NaN.

    Raises:
        DatasetNotFoundError: A file is not there.
        AnnotationError: A file or record is invalid, or has no masks to compare.
        ConfigError: `iou_types` or `max_dets` cannot be used.
    """
    params = EvalParams(iou_types, class_agnostic, max_dets)
    keys = ["AP", "AP50", "AP75", "APs", "APm", "APl", *(f"AR{count}" for count in max_dets)]
    curves = compare(ground_truth, predictions, params).curves
    return {iou_type: {key: curve.summary()[key] for key in keys} for iou_type, curve in curves.items()}


@paused_gc()
def compare(
    ground_truth: str | Path | Mapping[str, Any],
    predictions: str | Path | Sequence[Mapping[str, Any]] | Mapping[str, Any],
    params: EvalParams | None = None,
    *,
    on_error: OnError = "raise",
) -> Comparison:
    """As `evaluate_coco`, with all results: metrics per category, recall by size, curves, and both inputs.

    Args:
        ground_truth: As for `evaluate_coco`.
        predictions: As for `evaluate_coco`.
        params: What is compared; by default as for `evaluate_coco`.
        on_error: "skip" leaves out invalid records and logs how many; "raise" ends at the first.
    """
    params = params or EvalParams()
    # Boxes without area stay: they count as objects nobody can find, as they do in pycocotools.
    truth = load_ground_truth(ground_truth, on_error=on_error)
    found, rejected = load_detections(predictions, truth.coco, on_error=on_error, any_category=params.class_agnostic)
    images = len(truth.coco["images"])
    _log.info("evaluating %d detections on %d images", len(found), images)
    if not len(found):
        _log.warning("there is no detection at all; every metric is 0 where there is ground truth")
    if not truth.coco["annotations"]:
        _log.warning("%s: none of the %d images has an annotation; nothing can be measured", truth.source_name, images)
    categories = sorted(truth.coco["categories"], key=lambda category: category["id"])
    ids = None if params.class_agnostic else [category["id"] for category in categories]
    engine = Engine(truth.coco, found, category_ids=ids)
    names, max_dets = _distinct_names([_AGNOSTIC] if ids is None else categories), tuple(params.max_dets)
    curves = {
        iou_type: PrecisionRecall(*engine.precision_and_recall(iou_type, max_dets), names, max_dets)
        for iou_type in get_args(IouType)
        if iou_type in params.iou_types
    }
    return Comparison(curves, truth.coco, found, truth.dropped, rejected)


def _distinct_names(categories: Sequence[Category]) -> tuple[str, ...]:
    """Names of the categories; those that several share carry their id, too."""
    uses = Counter(category["name"] for category in categories)
    return tuple(c["name"] if uses[c["name"]] == 1 else f"{c['name']} ({c['id']})" for c in categories)
