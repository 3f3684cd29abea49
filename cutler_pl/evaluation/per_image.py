"""Scores of single images, by which the best and the worst are chosen.

The score of an image is the average precision of its own boxes at an IoU of 0.5, all categories taken for one, with
precision taken at each object found. COCO's metrics rank the detections of all images together, so they are no mean of
these scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hotcoco.metrics import average_precision

from cutler_pl.coco.schema import Coco
from cutler_pl.evaluation.detections import Detections
from cutler_pl.evaluation.engine import Engine

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


def score_images(truth: Coco, found: Detections, *, max_detections: int = 100) -> list[ImageScore]:
    """Scores of all images that have objects, by rising image id.

    Args:
        truth: Checked ground truth.
        found: Checked detections.
        max_detections: Best detections of an image that count.
    """
    scores = []
    for match in Engine(truth, found).box_matches(IOU, max_dets=max_detections):
        objects = match["gtIgnore"].count(False)
        if objects:
            matched, ignored = match["dtMatched"][0], match["dtIgnore"][0]
            hits = sum(hit and not crowd for hit, crowd in zip(matched, ignored, strict=True))
            recalls = np.arange(1, objects + 1) / objects
            precision = average_precision(match["dtScores"], matched, objects, ignored, recalls)
            scores.append(ImageScore(match["image_id"], objects, hits, round(precision, 12)))
    return scores


def best_and_worst(scores: Sequence[ImageScore], *, count: int, seed: int = 0) -> dict[str, list[ImageScore]]:
    """`count` images each of the best, the worst and, at random, the others; no image twice.

    Of equal scores the image with more objects comes first, on either side.

    Args:
        scores: Scores of all images.
        count: Images of each kind, fewer where there are not enough.
        seed: Seed of the random choice.
    """
    ranked = sorted(scores, key=lambda s: (-s.average_precision, -s.objects, s.image_id))
    share = min(count, (len(ranked) + 1) // 2)
    best = ranked[:share]
    rest = sorted(ranked[share:], key=lambda s: (s.average_precision, -s.objects, s.image_id))
    worst, others = rest[:count], rest[count:]
    chosen = np.random.default_rng(seed).permutation(len(others))[:count]
    return {"best": best, "worst": worst, "random": [others[i] for i in sorted(chosen.tolist())]}
