"""The map of scores to shares of right masks, fitted on half of the images and measured on the other half."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cutler_pl.coco import rle
from cutler_pl.coco.parts import ShardRecord
from cutler_pl.coco.schema import RLE
from cutler_pl.errors import InputError
from cutler_pl.evaluation.calibration import Reliability, ScoreMap, fit_isotonic, is_right, reliability
from cutler_pl.pseudo_masks.calibration.criteria import truth_of

MIN_IMAGES = 20
"""Fewest images with masks of which half are fitted on."""
_BINS = 5
_DIGITS = 4


@dataclass(frozen=True)
class FittedScores:
    """A map of scores.

    Attributes:
        points: Scores and their calibrated values, rising.
        before, after: Reliability on the images that it was not fitted on.
        masks: Number of masks fitted on, and measured.
    """

    points: Sequence[tuple[float, float]]
    before: Reliability
    after: Reliability
    masks: tuple[int, int]

    @property
    def is_better(self) -> bool:
        """Whether scores are nearer to shares of right masks by it, on images it was not fitted on."""
        return self.after.expected_error < self.before.expected_error and self.points[-1][1] > 0


def fit_scores(records: Sequence[ShardRecord], truth: Any) -> FittedScores:
    """Fit on every other image that has masks, and measure on the rest.

    Args:
        records: The masks of each image, with scores.
        truth: COCO content; its n-th image is that of the n-th record.

    Raises:
        InputError: There are too few images with masks.
    """
    masked = [number for number, record in enumerate(records) if record["annotations"]]
    if len(masked) < MIN_IMAGES:
        raise InputError(
            "no map of scores, which is fitted on half of the images and measured on the other half: needed are "
            f"{MIN_IMAGES} images with masks, and {len(masked)} have some"
        )
    (scores, right), (other_scores, other_right) = (
        _scored(records, truth, half) for half in (masked[::2], masked[1::2])
    )
    fitted = fit_isotonic(scores, right)
    before, after = (
        reliability(values, other_right, num_bins=_BINS) for values in (other_scores, fitted(other_scores))
    )
    return FittedScores(corners(fitted), before, after, (len(scores), len(other_scores)))


def corners(fitted: ScoreMap) -> list[tuple[float, float]]:
    """The points of a map without those on a level between two others."""
    values = fitted.values.round(_DIGITS)
    inner = (values[1:-1] == values[:-2]) & (values[1:-1] == values[2:])
    kept = np.concatenate([[True], ~inner, [True]])[: len(values)]
    pairs = zip(fitted.scores[kept].round(_DIGITS).tolist(), values[kept].tolist(), strict=True)
    return list(dict(pairs).items())


def _scored(records: Sequence[ShardRecord], truth: Any, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the masks of some images, and which are right."""
    all_scores, all_right = [], []
    for number in numbers:
        masks: list[RLE] = [one["segmentation"] for one in records[number]["annotations"]]  # type: ignore[misc]
        objects = truth_of(truth, number)
        scores = np.array([one["score"] for one in records[number]["annotations"]])
        all_scores.append(scores)
        all_right.append(is_right(rle.iou(masks, objects).reshape(len(masks), len(objects)), scores))
    return np.concatenate(all_scores), np.concatenate(all_right)
