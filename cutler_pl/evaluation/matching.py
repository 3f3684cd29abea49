"""Matching of detections with ground truth: faster-coco-eval's C++ code over pycocotools' own overlaps.

faster-coco-eval agrees with pycocotools to the last digits, and pycocotools' overlaps are the reference for masks.
What the engine does in Python around its C++ code (indexing files, preparing masks) takes longer than the matching
itself, so the two sides are handed to it ready.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCOeval_faster
from jaxtyping import Float64
from pycocotools import mask as coco_mask

from cutler_pl.evaluation.metrics import AREA_RANGES, IOU_THRESHOLDS, RECALLS
from cutler_pl.runtime.logging import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True)
class Objects:
    """One side of the comparison, as columns.

    Attributes:
        images: Number of each object's image, counted from 0 in the order that settles ties.
        categories: Category id of each object.
        shapes: What is compared: boxes `[x, y, width, height]`, or compressed RLEs.
        areas: Area in pixels that decides on small, medium, large.
        crowd: 1 for regions that detections may fall into without counting either way; 0 for detections.
        scores: Scores of detections; empty for ground truth.
    """

    images: Sequence[int]
    categories: Sequence[int]
    shapes: Sequence[Any]
    areas: Sequence[int | float]
    crowd: Sequence[int]
    scores: Sequence[int | float] = ()

    def groups(self) -> dict[tuple[int, int], list[int]]:
        """Objects of each image and category."""
        groups: dict[tuple[int, int], list[int]] = {}
        for number, key in enumerate(zip(self.images, self.categories, strict=True)):
            groups.setdefault(key, []).append(number)
        return groups


def precision_and_recall(
    truth: Objects, found: Objects, *, images: int, categories: Sequence[int], max_dets: Sequence[int]
) -> tuple[
    Float64[np.ndarray, "ious recalls categories areas max_dets"], Float64[np.ndarray, "ious categories areas max_dets"]
]:
    """Precision at each of `RECALLS` and recall reached, at each of `IOU_THRESHOLDS` and `AREA_RANGES`.

    Args:
        truth: Ground truth.
        found: Detections.
        images: Number of images.
        categories: Category ids in the order of the axis.
        max_dets: Best detections of an image that count, rising.

    Returns:
        -1 where there is no ground truth.
    """
    shape = (len(IOU_THRESHOLDS), len(RECALLS), len(categories), len(AREA_RANGES), len(max_dets))
    if not truth.images:
        return np.full(shape, -1.0), np.full((shape[0], *shape[2:]), -1.0)
    engine = _Engine(truth, found)
    engine.params.imgIds, engine.params.catIds = list(range(images)), list(categories)
    engine.params.maxDets = list(max_dets)
    engine.params.iouThrs, engine.params.recThrs = IOU_THRESHOLDS, RECALLS
    engine.params.areaRng = [list(area) for area in AREA_RANGES.values()]
    engine.evaluate()
    engine.accumulate()
    precision, recall = (np.asarray(engine.eval[key], dtype=np.float64) for key in ("precision", "recall"))
    return precision.reshape(shape), recall.reshape(shape[0], *shape[2:])


class _Engine(COCOeval_faster):  # type: ignore[misc]  # it has no type hints
    def __init__(self, truth: Objects, found: Objects) -> None:
        # As "boxes", because for masks the engine would prepare overlaps of its own.
        super().__init__(iouType="bbox", print_function=_log.debug)
        self._truth, self._found = truth, found
        self._truth_groups, self._found_groups = truth.groups(), found.groups()
        self._nonempty_iou_pairs = self._truth_groups.keys() & self._found_groups.keys()

    def _prepare(self) -> None:
        for data, side in ((self.gt_dataset, self._truth), (self.dt_dataset, self._found)):
            data.clean()
            scores = side.scores or [0.0] * len(side.images)
            columns = zip(side.images, side.categories, side.areas, side.crowd, scores, strict=True)
            # Ids count from 1: the engine takes 0 for "no match".
            for number, (image, category, area, crowd, score) in enumerate(columns, 1):
                record = {"id": number, "area": area, "iscrowd": crowd, "ignore": crowd, "score": score}
                data.append_ref(image, category, record)

    def computeIoU(self, imgId: Any, catId: Any) -> Any:  # noqa: N802, N803  (the engine's names; ids may be NumPy's)
        """Overlap of the best detections with the ground truth of one image and category."""
        truth, found = self._truth_groups[imgId, catId], self._found_groups[imgId, catId]
        scores = self._found.scores
        best = sorted(found, key=lambda number: -scores[number])[: self.params.maxDets[-1]]
        return coco_mask.iou(
            [self._found.shapes[number] for number in best],
            [self._truth.shapes[number] for number in truth],
            [self._truth.crowd[number] for number in truth],
        )
