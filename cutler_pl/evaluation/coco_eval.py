"""Class-agnostic and per-class COCO evaluation, with the same numbers as pycocotools.

Files are checked by `coco.io`, matched by `evaluation.matching` and summed up by `evaluation.measures`. One thing is
better than in pycocotools: a ground-truth annotation with id 0 counts like any other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from cutler_pl.coco import rle
from cutler_pl.coco.io import load_coco, load_predictions
from cutler_pl.coco.schema import RLE, Annotation, Category, Coco, Result
from cutler_pl.errors import AnnotationError, ConfigError
from cutler_pl.evaluation.matching import Objects, precision_and_recall
from cutler_pl.evaluation.metrics import IouType, PrecisionRecall
from cutler_pl.runtime.logging import get_logger

_AGNOSTIC: Category = {"id": 1, "name": "object"}

_log = get_logger(__name__)


@dataclass(frozen=True)
class Comparison:
    """Ground truth and detections as they were compared, and what came out.

    Attributes:
        curves: By "bbox" and "segm".
        truth: The checked ground truth.
        results: The checked detections.
        rejected_truth: One reason for each record of the ground truth that was left out.
        rejected_results: One reason for each detection that was left out.
    """

    curves: dict[IouType, PrecisionRecall]
    truth: Coco
    results: Sequence[Result]
    rejected_truth: Sequence[str] = field(default_factory=list)
    rejected_results: Sequence[str] = field(default_factory=list)


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
        iou_types: "bbox" for boxes, "segm" for masks. Sizes are those of what is compared: boxes or masks.
        class_agnostic: Take all categories of both sides for one.
        max_dets: Best detections of an image that count: the largest for AP, each for one AR.

    Returns:
        By `iou_types`, the measures AP, AP50, AP75, APs, APm, APl and an AR for each of `max_dets` (AR1, AR10,
        AR100). 0 where there is ground truth and nothing was found, `NOT_MEASURED` (-1) where there is none of
        that size; never NaN.

    Raises:
        DatasetNotFoundError: A file is not there.
        AnnotationError: A file or record is faulty, or has no masks to compare.
        ConfigError: `iou_types` or `max_dets` cannot be used.
    """
    curves = evaluate(ground_truth, predictions, iou_types=iou_types, class_agnostic=class_agnostic, max_dets=max_dets)
    keys = ["AP", "AP50", "AP75", "APs", "APm", "APl", *(f"AR{count}" for count in max_dets)]
    return {iou_type: {key: curve.summary()[key] for key in keys} for iou_type, curve in curves.items()}


def evaluate(
    ground_truth: str | Path | Mapping[str, Any],
    predictions: str | Path | Sequence[Mapping[str, Any]] | Mapping[str, Any],
    *,
    iou_types: Sequence[str] = ("bbox", "segm"),
    class_agnostic: bool = True,
    max_dets: Sequence[int] = (1, 10, 100),
    on_error: Literal["raise", "skip"] = "raise",
) -> dict[IouType, PrecisionRecall]:
    """As `evaluate_coco`, but returns the whole curves: per-category measures, recall by size, curves to draw.

    Args:
        ground_truth: As for `evaluate_coco`.
        predictions: As for `evaluate_coco`.
        iou_types: As for `evaluate_coco`.
        class_agnostic: As for `evaluate_coco`.
        max_dets: As for `evaluate_coco`.
        on_error: "skip" leaves out faulty records and logs how many; "raise" ends at the first.
    """
    return compare(
        ground_truth,
        predictions,
        iou_types=iou_types,
        class_agnostic=class_agnostic,
        max_dets=max_dets,
        on_error=on_error,
    ).curves


def compare(
    ground_truth: str | Path | Mapping[str, Any],
    predictions: str | Path | Sequence[Mapping[str, Any]] | Mapping[str, Any],
    *,
    iou_types: Sequence[str] = ("bbox", "segm"),
    class_agnostic: bool = True,
    max_dets: Sequence[int] = (1, 10, 100),
    on_error: Literal["raise", "skip"] = "raise",
) -> Comparison:
    """As `evaluate`, but also returns both sides as they were compared, and what was left out of them."""
    types, counts = _checked(iou_types, max_dets)
    # Boxes without area stay: they count as objects nobody can find, as they do in pycocotools.
    truth = load_coco(ground_truth, on_error=on_error, keep_empty_boxes=True)
    found = load_predictions(predictions, truth.coco, on_error=on_error, any_category=class_agnostic)
    images = len(truth.coco["images"])
    _log.info("evaluating %d detections on %d images", len(found.results), images)
    if not found.results:
        _log.warning("there is no detection at all; every measure is 0 where there is ground truth")
    if not truth.coco["annotations"]:
        _log.warning("%s: none of the %d images has an annotation; nothing can be measured", truth.source_name, images)
    curves = {iou_type: _curves(truth.coco, found.results, iou_type, class_agnostic, counts) for iou_type in types}
    return Comparison(curves, truth.coco, found.results, truth.dropped, found.dropped)


def _checked(iou_types: Sequence[str], max_dets: Sequence[int]) -> tuple[list[IouType], tuple[int, ...]]:
    known = get_args(IouType)
    types: list[IouType] = [known[known.index(name)] for name in iou_types if name in known]
    if not types or len(types) != len(iou_types) or isinstance(iou_types, str):
        raise ConfigError(f'iou_types is {iou_types!r}; give "bbox", "segm" or both in a list')
    counts = tuple(int(count) for count in max_dets)
    if not counts or counts[0] < 1 or any(a >= b for a, b in pairwise(counts)):
        raise ConfigError(f"max_dets is {max_dets!r}; give positive numbers in rising order, such as [1, 10, 100]")
    return types, counts


def _curves(
    truth: Coco, results: Sequence[Result], iou_type: IouType, class_agnostic: bool, max_dets: tuple[int, ...]
) -> PrecisionRecall:
    categories = [_AGNOSTIC] if class_agnostic else sorted(truth["categories"], key=lambda category: category["id"])
    ids = [category["id"] for category in categories]
    order = {image_id: number for number, image_id in enumerate(sorted(image["id"] for image in truth["images"]))}
    precision, recall = precision_and_recall(
        _ground_truth(truth, iou_type, order, ids[0] if class_agnostic else None),
        _detections(results, iou_type, order, ids[0] if class_agnostic else None),
        images=len(order),
        categories=ids,
        max_dets=max_dets,
    )
    return PrecisionRecall(precision, recall, _distinct_names(categories), max_dets)


def _distinct_names(categories: Sequence[Category]) -> tuple[str, ...]:
    """Names of the categories; those that several share carry their id, too."""
    uses = Counter(category["name"] for category in categories)
    return tuple(c["name"] if uses[c["name"]] == 1 else f"{c['name']} ({c['id']})" for c in categories)


def _ground_truth(truth: Coco, iou_type: IouType, order: Mapping[int, int], category: int | None) -> Objects:
    annotations = truth["annotations"]
    if iou_type == "bbox":
        shapes: list[Any] = [annotation["bbox"] for annotation in annotations]
    else:
        sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
        shapes = [_mask(annotation, *sizes[annotation["image_id"]]) for annotation in annotations]
    return Objects(
        images=[order[annotation["image_id"]] for annotation in annotations],
        categories=[category or annotation["category_id"] for annotation in annotations],
        shapes=shapes,
        areas=[annotation["area"] for annotation in annotations],
        crowd=[annotation["iscrowd"] for annotation in annotations],
    )


def _detections(
    results: Sequence[Result], iou_type: IouType, order: Mapping[int, int], category: int | None
) -> Objects:
    if iou_type == "bbox":
        shapes: list[Any] = [result["bbox"] for result in results]
        areas = [box[2] * box[3] for box in shapes]
    else:
        shapes = [result.get("segmentation") for result in results]
        if None in shapes:
            number = shapes.index(None)
            raise _no_mask(f"detection {number} (image {results[number]['image_id']})")
        areas = rle.areas(shapes).tolist()
    return Objects(
        images=[order[result["image_id"]] for result in results],
        categories=[category or result["category_id"] for result in results],
        shapes=shapes,
        areas=areas,
        crowd=[0] * len(results),
        scores=[result["score"] for result in results],
    )


def _mask(annotation: Annotation, height: int, width: int) -> RLE:
    if not annotation.get("segmentation"):
        raise _no_mask(f"ground-truth annotation {annotation['id']} (image {annotation['image_id']})")
    return rle.to_rle(annotation["segmentation"], height, width)


def _no_mask(what: str) -> AnnotationError:
    return AnnotationError(f'{what} has no mask; evaluate boxes only, with iou_types=["bbox"]')
