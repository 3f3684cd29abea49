"""Result of one dataset: metrics, counts, precision–recall curves and example images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from cutler_pl.coco.records import group_by_image
from cutler_pl.coco.schema import Annotation, Image, Result
from cutler_pl.evaluation.coco_eval import Comparison
from cutler_pl.evaluation.metrics import AREA_RANGES, NOT_MEASURED, IouType, Metrics
from cutler_pl.evaluation.per_image import best_and_worst, score_images

CURVE_IOUS = (0.5, 0.75)


class Example(TypedDict):
    """One image to show, with as many of its best detections as it has objects: no score threshold decides."""

    image: Image
    objects: list[Annotation]
    detections: list[Result]
    found: int
    average_precision: float


@dataclass(frozen=True)
class DatasetResult:
    """Result of one dataset; plain values, so that it is kept as JSON.

    Attributes:
        metrics: By "bbox" and "segm".
        counts: Images, objects, detections, and what was left out.
        categories: Metrics per category, where they were asked for.
        curves: Precision at each of `metrics.RECALLS` by IoU threshold, for "bbox" and "segm".
        examples: The best, the worst and other images.
        category_names: Category ids and names, where classes count.
    """

    metrics: Metrics
    counts: Mapping[str, int]
    categories: Mapping[IouType, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    curves: Mapping[IouType, Mapping[str, list[float]]] = field(default_factory=dict)
    examples: Mapping[str, list[Example]] = field(default_factory=dict)
    category_names: Sequence[tuple[int, str]] = ()


def precision_curves(comparison: Comparison, *, ap_max_dets: int | None) -> dict[IouType, dict[str, list[float]]]:
    """Precision at each of `CURVE_IOUS`, where there is ground truth."""
    curves: dict[IouType, dict[str, list[float]]] = {}
    for iou_type, curve in comparison.curves.items():
        precision = {str(iou): curve.precision_at(iou, ap_max_dets=ap_max_dets).tolist() for iou in CURVE_IOUS}
        curves[iou_type] = {iou: values for iou, values in precision.items() if NOT_MEASURED not in values}
    return curves


def choose_examples(comparison: Comparison, *, count: int) -> dict[str, list[Example]]:
    """`count` images each of the best, the worst and, at random, the others."""
    if not count:
        return {}
    truth, detections = comparison.truth, comparison.detections
    images = {image["id"]: image for image in truth["images"]}
    objects = group_by_image(annotation for annotation in truth["annotations"] if not annotation["iscrowd"])
    return {
        kind: [
            Example(
                image=images[score.image_id],
                objects=objects[score.image_id],
                detections=detections.best_of_image(score.image_id, score.objects),
                found=score.found,
                average_precision=score.average_precision,
            )
            for score in scores
        ]
        for kind, scores in best_and_worst(score_images(truth, detections), count=count).items()
    }


def count_records(comparison: Comparison) -> dict[str, int]:
    """Images, objects by size, crowd regions, detections, images without any, and records left out."""
    truth = comparison.truth
    areas = [annotation["area"] for annotation in truth["annotations"] if not annotation["iscrowd"]]
    counts = {"images": len(truth["images"]), "objects": len(areas)}
    smaller = 0
    for size in list(AREA_RANGES)[1:]:
        up_to = sum(area <= AREA_RANGES[size][1] for area in areas)
        counts[f"objects_{size}"] = up_to - smaller
        smaller = up_to
    return counts | {
        "crowd_regions": len(truth["annotations"]) - len(areas),
        "detections": len(comparison.detections),
        "images_without_detections": len(truth["images"]) - len(set(comparison.detections.image_ids.tolist())),
        "rejected_annotations": len(comparison.rejected_truth),
        "rejected_detections": len(comparison.rejected_detections),
    }
