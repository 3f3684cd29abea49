"""Calibration of scores: how often objects of a score are right, and a map from scores to these shares.

A score orders masks; as a soft target (`models.losses`) its value counts, too. An object is right as in COCO's
evaluation: best scores first, each takes the free ground truth it overlaps most, if by at least the threshold. The map
is the isotonic regression of right (1) or wrong (0) on the scores: it never changes the order of two scores.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, Num
from scipy.optimize import isotonic_regression

from cutler_pl.errors import InputError


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: objects in bins of equal width of their scores; means of empty bins are NaN."""

    counts: Int64[np.ndarray, " bins"]
    mean_scores: Float[np.ndarray, " bins"]
    precisions: Float[np.ndarray, " bins"]
    """Share of the objects that are right."""

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean over objects of the distance of score and precision in their bin."""
        used = self.counts > 0
        distances = np.abs(self.mean_scores[used] - self.precisions[used])
        return float(np.average(distances, weights=self.counts[used])) if used.any() else 0.0


@dataclass(frozen=True)
class ScoreMap:
    """A rising map of scores, linear between its points and constant outside."""

    scores: Float[np.ndarray, " points"]
    values: Float[np.ndarray, " points"]

    def __call__(self, scores: Num[np.ndarray, " objects"]) -> Float[np.ndarray, " objects"]:
        """The calibrated scores."""
        values: np.ndarray = np.interp(scores, self.scores, self.values)
        return values


def is_right(
    ious: Float[np.ndarray, "objects gt"], scores: Num[np.ndarray, " objects"], *, iou_threshold: float = 0.5
) -> Bool[np.ndarray, " objects"]:
    """Which objects of an image are right, each ground truth being found once.

    Args:
        ious: IoU of each object with each ground truth of the image.
        scores: Objects of equal score keep their order.
        iou_threshold: Least IoU.
    """
    right, free = np.zeros(len(scores), dtype=bool), np.ones(ious.shape[1], dtype=bool)
    for i in np.argsort(-scores, kind="stable") if ious.shape[1] else ():
        overlaps = np.where(free, ious[i], -1.0)
        best = int(overlaps.argmax())
        if overlaps[best] >= iou_threshold:
            right[i], free[best] = True, False
    return right


def reliability(
    scores: Num[np.ndarray, " objects"], right: Bool[np.ndarray, " objects"], *, num_bins: int = 10
) -> Reliability:
    """The reliability diagram of scores from 0 to 1.

    Raises:
        InputError: A score is outside 0 to 1.
    """
    _check(scores)
    bins = np.minimum((scores * num_bins).astype(np.int64), num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        mean_scores, precisions = (np.bincount(bins, part, num_bins) / counts for part in (scores, right))
    return Reliability(counts, mean_scores, precisions)


def fit_isotonic(scores: Num[np.ndarray, " objects"], right: Bool[np.ndarray, " objects"]) -> ScoreMap:
    """The rising map that is nearest, in squares, to 1 for objects that are right and 0 for others.

    Fit it on other images than those it is used on.

    Raises:
        InputError: There is no object, or a score is outside 0 to 1.
    """
    if len(scores) == 0:
        raise InputError("a calibration needs scored objects and ground truth, found none; give images with masks")
    _check(scores)
    points, owners, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(owners, right) / counts
    return ScoreMap(points.astype(np.float64), isotonic_regression(means, weights=counts.astype(np.float64)).x)


def _check(scores: Num[np.ndarray, " objects"]) -> None:
    if outside := [float(score) for score in scores if not 0 <= score <= 1]:
        raise InputError(f"calibration takes scores from 0 to 1, found {outside[0]:g}; divide them by their largest")
