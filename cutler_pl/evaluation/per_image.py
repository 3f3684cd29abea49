"""How well one image alone went: what decides which images are shown as the best and the worst.

The score of an image is the average precision of its own boxes at an IoU of 0.5, all categories taken for one:
detections are taken by falling score, each finds the object it overlaps most among those that are still free, and the
precision at each object found (made non-increasing towards lower recall) is averaged over the objects. COCO's measures
rank the detections of all images together, so they are no mean of these scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from cutler_pl.coco.records import group_by_image
from cutler_pl.coco.schema import Coco, Result

IOU = 0.5


@dataclass(frozen=True)
class ImageScore:
    """One image's objects and what was found of them.

    Attributes:
        image_id: COCO id.
        objects: Annotations that are no crowd regions.
        found: Those of them that a detection overlaps enough.
        average_precision: 0 to 1.
    """

    image_id: int
    objects: int
    found: int
    average_precision: float


def score_images(truth: Coco, results: Sequence[Result], *, max_detections: int = 100) -> list[ImageScore]:
    """Scores of all images that have objects, by rising image id.

    Args:
        truth: Checked ground truth.
        results: Checked detections.
        max_detections: Best detections of an image that count.
    """
    objects, found = group_by_image(truth["annotations"]), group_by_image(results)
    return [
        _score(image_id, annotations, found.get(image_id, []), max_detections)
        for image_id, annotations in sorted(objects.items())
        if any(not annotation["iscrowd"] for annotation in annotations)
    ]


def best_and_worst(scores: Sequence[ImageScore], *, count: int, seed: int = 0) -> dict[str, list[ImageScore]]:
    """So many of the best, of the worst, and of the others by chance; no image twice.

    Of equal scores the image with more objects comes first, on either side.

    Args:
        scores: Scores of all images.
        count: Images of each kind, fewer where there are not enough.
        seed: Seed of the choice by chance.
    """
    ranked = sorted(scores, key=lambda s: (-s.average_precision, -s.objects, s.image_id))
    share = min(count, (len(ranked) + 1) // 2)
    best = ranked[:share]
    rest = sorted(ranked[share:], key=lambda s: (s.average_precision, -s.objects, s.image_id))
    worst, others = rest[:count], rest[count:]
    chosen = np.random.default_rng(seed).permutation(len(others))[:count]
    return {"best": best, "worst": worst, "random": [others[i] for i in sorted(chosen.tolist())]}


def _score(
    image_id: int, annotations: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], most: int
) -> ImageScore:
    best = sorted(results, key=lambda result: -result["score"])[:most]
    crowd = np.array([bool(annotation["iscrowd"]) for annotation in annotations])
    count = int((~crowd).sum())
    if not best:
        return ImageScore(image_id, count, 0, 0.0)
    overlaps = np.asarray(
        coco_mask.iou([r["bbox"] for r in best], [a["bbox"] for a in annotations], crowd.astype(int).tolist())
    )
    free, hit = ~crowd, np.zeros(len(best), dtype=bool)
    for number in np.flatnonzero((overlaps[:, ~crowd] >= IOU).any(axis=1)):  # few: the others cannot find anything
        candidates = np.where(free, overlaps[number], 0.0)
        choice = int(candidates.argmax())
        if candidates[choice] >= IOU:
            free[choice], hit[number] = False, True
    in_crowd = (overlaps[:, crowd] >= IOU).any(axis=1)  # counts neither way
    hits = hit[hit | ~in_crowd]
    positions = np.flatnonzero(hits)
    precision = np.arange(1, len(positions) + 1) / (positions + 1)
    precision = np.maximum.accumulate(precision[::-1])
    return ImageScore(image_id, count, len(positions), float(precision.sum() / count))
