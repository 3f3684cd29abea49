"""Measure each dataset once; a result is reused while files and settings stay the same."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cutler_pl.coco.failures import FAILURES_NAME, read_failures
from cutler_pl.commands.evaluate.plan import FailedDatasets, Plan, Task
from cutler_pl.commands.result_cache import file_state, read_cached, write_cached
from cutler_pl.evaluation import compare
from cutler_pl.evaluation.dataset_result import DatasetResult, choose_examples, count_records, precision_curves
from cutler_pl.runtime.files import write_text
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.version import VERSION

log = get_logger(__name__)

RESULT = "result.json"


def measure_all(cfg: DictConfig, plan: Plan, failed: FailedDatasets) -> dict[str, DatasetResult]:
    """Measure the datasets with predictions; writes `result.json` and `rejected.txt` (records left out) for each.

    `failed` gets the reason for each dataset that cannot be measured.

    Raises:
        AnnotationError: The only dataset is invalid, or has no masks to compare.
    """
    options = {"on_error": cfg.on_error, "per_category": cfg.eval.per_category, "num_examples": cfg.num_examples}
    results: dict[str, DatasetResult] = {}
    for task in plan.tasks:
        if task.name not in failed:
            with failed.caught(task):
                results[task.name] = _measured(task, options)
    return results


def _measured(task: Task, options: Mapping[str, Any]) -> DatasetResult:
    settings = {
        "version": VERSION,
        "task": json.loads(json.dumps(asdict(task), default=str)),
        "annotations": file_state(task.annotations),
        "predictions": file_state(task.predictions),
        **options,
    }
    before = read_cached(task.folder / RESULT, settings)
    if before is not None:
        log.info("%s: measured before, kept", task.name)
        return DatasetResult(**before["result"])
    result = _measure(task, **options)
    write_cached(task.folder / RESULT, settings, result=asdict(result))
    return result


def _measure(task: Task, *, on_error: Any, per_category: bool, num_examples: int) -> DatasetResult:
    comparison = compare(task.annotations, task.predictions, task.params, on_error=on_error)
    rejected = [*comparison.rejected_truth, *comparison.rejected_detections]
    write_text(task.folder / "rejected.txt", "".join(f"{reason}\n" for reason in rejected))
    curves, by_class = comparison.curves, not task.params.class_agnostic
    classified = curves if per_category and by_class else {}
    categories = {kind: curve.per_category(ap_max_dets=task.ap_max_dets) for kind, curve in classified.items()}
    return DatasetResult(
        metrics={kind: curve.summary(ap_max_dets=task.ap_max_dets) for kind, curve in curves.items()},
        counts=count_records(comparison) | _unreadable(task.predictions),
        categories=categories,
        curves=precision_curves(comparison, ap_max_dets=task.ap_max_dets),
        examples=choose_examples(comparison, count=num_examples if task.images is not None else 0),
        category_names=[(c["id"], c["name"]) for c in comparison.truth["categories"]] if by_class else (),
    )


def _unreadable(predictions: Path) -> dict[str, int]:
    """Images listed beside the results as unreadable: their objects count as missed."""
    failures = predictions.with_name(FAILURES_NAME)
    if predictions.name != "predictions.json" or not failures.is_file():
        return {}
    names = read_failures(failures)
    if names:
        log.warning("%d images could not be read; their objects count as missed: %s", len(names), failures)
    return {"unreadable_images": len(names)}
