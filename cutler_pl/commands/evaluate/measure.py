"""One dataset measured: its numbers, what was counted and left out, its pictures; kept so that it is done once."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from cutler_pl.coco.failures import FAILURES_NAME, read_failures
from cutler_pl.commands.evaluate.plan import Task
from cutler_pl.commands.result_cache import file_state, finished_with, write_finished
from cutler_pl.evaluation import Comparison, compare
from cutler_pl.evaluation.dataset_result import DatasetResult
from cutler_pl.evaluation.metrics import AREA_RANGES
from cutler_pl.reports.evaluation import CURVES, PICTURES
from cutler_pl.reports.evaluation_figures import draw_examples, draw_precision_recall
from cutler_pl.runtime.files import write_text
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.version import VERSION

log = get_logger(__name__)

RESULT = "result.json"


def measure_dataset(
    task: Task,
    predictions: Path,
    folder: Path,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    per_category: bool = False,
    gallery: int = 0,
) -> DatasetResult:
    """Measure one dataset, or take what was measured before with the same settings from the same files.

    Args:
        task: What to measure.
        predictions: COCO results.
        folder: Where `result.json`, `rejected.txt`, the curves and the pictures are written.
        on_error: "skip" leaves out faulty records and lists them in `rejected.txt`; "raise" ends at the first.
        per_category: Measure each category by itself, too.
        gallery: Pictures of each kind; 0 for none.

    Raises:
        AnnotationError: Ground truth or predictions are faulty, or have no masks to compare.
    """
    settings = {
        "version": VERSION,
        "task": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(task).items()},
        "annotations": file_state(task.annotations),
        "predictions": file_state(predictions),
        "on_error": on_error,
        "per_category": per_category,
        "gallery": gallery,
    }
    before = finished_with(folder / RESULT, settings)
    if before is not None:
        log.info("%s: measured before, kept", task.name)
        return DatasetResult(**before["result"])
    comparison = compare(
        task.annotations,
        predictions,
        iou_types=task.iou_types,
        class_agnostic=task.class_agnostic,
        max_dets=task.max_dets,
        on_error=on_error,
    )
    curves = comparison.curves
    result = DatasetResult(
        measures={kind: curve.summary(ap_max_dets=task.ap_max_dets) for kind, curve in curves.items()},
        counts=count(comparison) | _unreadable(predictions),
        categories=(
            {kind: curve.per_category(ap_max_dets=task.ap_max_dets) for kind, curve in curves.items()}
            if per_category and not task.class_agnostic
            else {}
        ),
        pictures=_pictures(comparison, task, folder, gallery),
    )
    rejected = [*comparison.rejected_truth, *comparison.rejected_results]
    write_text(folder / "rejected.txt", "".join(f"{reason}\n" for reason in rejected))
    draw_precision_recall(folder / CURVES, curves, ap_max_dets=task.ap_max_dets)
    write_finished(folder / RESULT, settings, result=asdict(result))
    return result


def count(comparison: Comparison) -> dict[str, int]:
    """Images, objects by size, crowd regions, detections, images without any, and records left out."""
    truth = comparison.truth
    areas = [annotation["area"] for annotation in truth["annotations"] if not annotation["iscrowd"]]
    found = {result["image_id"] for result in comparison.results}
    counts = {"images": len(truth["images"]), "objects": len(areas)}
    smaller = 0
    for size in list(AREA_RANGES)[1:]:
        up_to = sum(area <= AREA_RANGES[size][1] for area in areas)
        counts[f"objects_{size}"] = up_to - smaller
        smaller = up_to
    return counts | {
        "crowd_regions": len(truth["annotations"]) - len(areas),
        "detections": len(comparison.results),
        "images_without_detections": len(truth["images"]) - len(found),
        "rejected_annotations": len(comparison.rejected_truth),
        "rejected_detections": len(comparison.rejected_results),
    }


def _unreadable(predictions: Path) -> dict[str, int]:
    """Images that the detector could not read, which prediction lists beside its results: their objects are missed."""
    failures = predictions.with_name(FAILURES_NAME)
    if predictions.name != "predictions.json" or not failures.is_file():
        return {}
    names = read_failures(failures)
    if names:
        log.warning("%d images could not be read; their objects count as missed: %s", len(names), failures)
    return {"unreadable_images": len(names)}


def _pictures(comparison: Comparison, task: Task, folder: Path, gallery: int) -> Mapping[str, Any]:
    if not gallery or task.images is None:
        return {}
    return draw_examples(comparison, task.images, folder / PICTURES, count=gallery, named=not task.class_agnostic)
