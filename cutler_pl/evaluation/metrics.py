"""COCO's metrics as means over precision and recall at fixed points.

Average precision is the mean of precision over 101 recalls, ten IoU thresholds (0.50, 0.55, …, 0.95) and all
categories; average recall the mean of the recall reached with the best 1, 10, 100 detections of each image.
Source: https://cocodataset.org/#detection-eval.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

IouType = Literal["bbox", "segm"]
"""What is compared: boxes or masks."""

NOT_MEASURED = -1.0
"""COCO's value of a metric without ground truth of that size or category. It is valid JSON."""

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREA_RANGES = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}
"""Areas in pixels by the suffix of the metric's name: all, small, medium, large objects."""


@dataclass(frozen=True)
class PrecisionRecall:
    """Arrays of an evaluation; every metric is a mean over a part of them.

    Attributes:
        precision: Precision at each of `RECALLS`; -1 where there is no ground truth.
        recall: Highest recall; -1 where there is no ground truth.
        categories: Names of the categories, in the order of the axis.
        max_dets: Best detections of an image that count, in the order of the last axis.
    """

    precision: Float64[np.ndarray, "ious recalls categories areas max_dets"]
    recall: Float64[np.ndarray, "ious categories areas max_dets"]
    categories: tuple[str, ...]
    max_dets: tuple[int, ...]

    def summary(self, *, ap_max_dets: int | None = None) -> dict[str, float]:
        """AP, AP50, AP75, AP by size, AR by number of detections, AR by size, in percent.

        Args:
            ap_max_dets: Best detections of an image that count for AP and for recall by size; by default the
                largest of `max_dets`. LVIS takes 100 there although 300 are given.
        """
        return self._metrics(slice(None), ap_max_dets)

    def per_category(self, *, ap_max_dets: int | None = None) -> dict[str, dict[str, float]]:
        """The same metrics for each category on its own, by its name."""
        return {name: self._metrics(slice(k, k + 1), ap_max_dets) for k, name in enumerate(self.categories)}

    def precision_at(self, iou_threshold: float, *, ap_max_dets: int | None = None) -> Float64[np.ndarray, " recalls"]:
        """Precision at each of `RECALLS` at one of `IOU_THRESHOLDS`, over all categories and sizes; a curve to draw.

        Args:
            iou_threshold: One of `IOU_THRESHOLDS`.
            ap_max_dets: As for `summary`.
        """
        last = -1 if ap_max_dets is None else self.max_dets.index(ap_max_dets)
        values = self.precision[_position(iou_threshold), :, :, 0, last]
        return np.array([_mean(row) for row in values])

    def _metrics(self, part: slice, ap_max_dets: int | None) -> dict[str, float]:
        last = -1 if ap_max_dets is None else self.max_dets.index(ap_max_dets)
        precision, recall = self.precision[:, :, part, :, last], self.recall[:, part]
        metrics = {"AP": _percent(precision[:, :, :, 0])}
        for threshold in (0.5, 0.75):
            metrics[f"AP{100 * threshold:.0f}"] = _percent(precision[_position(threshold), :, :, 0])
        sizes = list(enumerate(AREA_RANGES))[1:]
        metrics |= {f"AP{size}": _percent(precision[:, :, :, area]) for area, size in sizes}
        metrics |= {f"AR{count}": _percent(recall[:, :, 0, m]) for m, count in enumerate(self.max_dets)}
        return metrics | {f"AR{size}": _percent(recall[:, :, area, last]) for area, size in sizes}


def _position(iou_threshold: float) -> int:
    return int(np.flatnonzero(np.isclose(IOU_THRESHOLDS, iou_threshold))[0])


def _mean(values: Float64[np.ndarray, "..."]) -> float:
    measured = values[values > NOT_MEASURED]
    return float(np.mean(measured)) if measured.size else NOT_MEASURED


def _percent(values: Float64[np.ndarray, "..."]) -> float:
    mean = _mean(values)
    return mean if mean == NOT_MEASURED else 100 * mean


Metrics = Mapping[IouType, Mapping[str, float]]
"""By "bbox" and "segm", metrics by name, as of `evaluate_coco`."""
