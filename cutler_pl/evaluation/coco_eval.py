"""Class-agnostic and per-class COCO evaluation, with the same numbers as pycocotools.

The matching is done by faster-coco-eval's C++ code, which agrees with pycocotools to the last digits and is an order
of magnitude faster; the measures are taken from its precision and recall by `evaluation.measures`. One thing is
better than in pycocotools: a ground-truth annotation with id 0 counts like any other.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from pycocotools import mask as coco_mask

from cutler_pl.coco import rle
from cutler_pl.coco.io import load_coco, load_predictions
from cutler_pl.coco.schema import Annotation, Coco, Result
from cutler_pl.errors import AnnotationError, ConfigError
from cutler_pl.evaluation.measures import AREA_RANGES, IOU_THRESHOLDS, RECALLS, Curves, IouType
from cutler_pl.runtime.logging import get_logger

_AGNOSTIC = {"id": 1, "name": "object"}

_log = get_logger(__name__)


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
) -> dict[IouType, Curves]:
    """As `evaluate_coco`, but returns the whole curves: per-category measures, recall by size, curves to draw.

    Args:
        ground_truth: As for `evaluate_coco`.
        predictions: As for `evaluate_coco`.
        iou_types: As for `evaluate_coco`.
        class_agnostic: As for `evaluate_coco`.
        max_dets: As for `evaluate_coco`.
        on_error: "skip" leaves out faulty records and logs how many; "raise" ends at the first.
    """
    types, counts = _checked(iou_types, max_dets)
    # Boxes without area stay: they count as objects nobody can find, as they do in pycocotools.
    truth = load_coco(ground_truth, on_error=on_error, keep_empty_boxes=True).coco
    results = load_predictions(predictions, truth, on_error=on_error, any_category=class_agnostic).results
    _log.info("evaluating %d detections on %d images", len(results), len(truth["images"]))
    return {iou_type: _curves(truth, results, iou_type, class_agnostic, counts) for iou_type in types}


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
) -> Curves:
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    categories = [_AGNOSTIC] if class_agnostic else sorted(truth["categories"], key=lambda category: category["id"])
    names = tuple(str(category["name"]) for category in categories)
    one = 1 if class_agnostic else None
    common = {"images": [{"id": i, "height": h, "width": w} for i, (h, w) in sizes.items()], "categories": categories}
    # New records with ids from 1: the engine adds its own keys to them and takes id 0 for "no match".
    gt = [
        _gt_record(number, annotation, iou_type, one, sizes[annotation["image_id"]])
        for number, annotation in enumerate(truth["annotations"], 1)
    ]
    dt = [_dt_record(number, result, iou_type, one) for number, result in enumerate(results, 1)]
    if not gt or not sizes:
        shape = (len(IOU_THRESHOLDS), len(RECALLS), len(categories), len(AREA_RANGES), len(max_dets))
        return Curves(np.full(shape, -1.0), np.full((shape[0], *shape[2:]), -1.0), names, max_dets)

    engine = _Engine(COCO({**common, "annotations": gt}), COCO({**common, "annotations": dt}), iou_type)
    engine.params.maxDets = list(max_dets)
    engine.params.iouThrs, engine.params.recThrs = IOU_THRESHOLDS, RECALLS
    engine.params.areaRng = [list(area) for area in AREA_RANGES.values()]
    engine.evaluate()
    engine.accumulate()
    return Curves(
        np.asarray(engine.eval["precision"], dtype=np.float64),
        np.asarray(engine.eval["recall"], dtype=np.float64),
        names,
        max_dets,
    )


class _Engine(COCOeval_faster):  # type: ignore[misc]  # it has no type hints
    """faster-coco-eval's matching over pycocotools' own overlaps, for boxes and masks alike.

    The engine is told that it compares boxes, because its own preparation of masks takes longer than its matching.
    """

    def __init__(self, gt: COCO, dt: COCO, iou_type: IouType) -> None:
        super().__init__(gt, dt, "bbox", print_function=_log.debug)
        self._shape_key = "bbox" if iou_type == "bbox" else "segmentation"

    def computeIoU(self, imgId: Any, catId: Any) -> Any:  # noqa: N802, N803  (the engine's names; ids may be NumPy's)
        """Overlap of the best detections with the ground truth of one image and category; `[]` without either."""
        gt, dt = (data.get_instances([imgId], [catId], True)[0][0] for data in (self.gt_dataset, self.dt_dataset))
        if not gt or not dt:
            return []
        best = np.argsort([-record["score"] for record in dt], kind="stable")[: self.params.maxDets[-1]]
        return coco_mask.iou(
            [dt[i][self._shape_key] for i in best],
            [record[self._shape_key] for record in gt],
            [record["iscrowd"] for record in gt],
        )


def _gt_record(
    number: int, annotation: Annotation, iou_type: IouType, category: int | None, size_hw: tuple[int, int]
) -> dict[str, Any]:
    record = {
        "id": number,
        "image_id": annotation["image_id"],
        "category_id": category or annotation["category_id"],
        "bbox": annotation["bbox"],
        "area": annotation["area"],
        "iscrowd": annotation["iscrowd"],
    }
    if iou_type == "segm":
        if not annotation.get("segmentation"):
            raise AnnotationError(
                f"ground-truth annotation {annotation['id']} (image {annotation['image_id']}) has no mask; "
                'evaluate boxes only, with iou_types=["bbox"]'
            )
        record["segmentation"] = rle.to_rle(annotation["segmentation"], *size_hw)
    return record


def _dt_record(number: int, result: Result, iou_type: IouType, category: int | None) -> dict[str, Any]:
    record = {
        "id": number,
        "image_id": result["image_id"],
        "category_id": category or result["category_id"],
        "bbox": result["bbox"],
        "score": result["score"],
        "iscrowd": 0,
    }
    if iou_type == "bbox":
        return record | {"area": result["bbox"][2] * result["bbox"][3]}
    if "segmentation" not in result:
        raise AnnotationError(
            f"detection {number - 1} (image {result['image_id']}) has no mask; "
            'evaluate boxes only, with iou_types=["bbox"]'
        )
    return record | {"segmentation": result["segmentation"], "area": rle.area(result["segmentation"])}
