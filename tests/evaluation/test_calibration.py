"""Calibration of scores by hand-computed values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutler_pl.errors import InputError
from cutler_pl.evaluation.calibration import fit_isotonic, is_right, reliability

SCORES = np.array([0.1, 0.2, 0.3, 0.8])
RIGHT = np.array([False, True, False, True])


def test_each_ground_truth_is_found_once() -> None:
    """Best scores first; the second best ground truth is taken where the best is not free."""
    ious = np.array([[0.6, 0.0], [0.9, 0.55], [0.7, 0.5], [0.4, 0.3]])
    assert is_right(ious, np.array([0.9, 0.8, 0.7, 1.0])).tolist() == [True, True, False, False]
    assert is_right(ious[:0], np.zeros(0)).tolist() == []
    assert is_right(ious[:, :0], np.ones(4)).tolist() == [False] * 4


def test_reliability_by_hand() -> None:
    diagram = reliability(SCORES, RIGHT, num_bins=2)
    assert diagram.counts.tolist() == [3, 1]
    assert diagram.mean_scores.tolist() == pytest.approx([0.2, 0.8])
    assert diagram.precisions.tolist() == pytest.approx([1 / 3, 1])
    assert diagram.expected_error == pytest.approx((3 * (1 / 3 - 0.2) + 0.2) / 4)
    assert reliability(np.array([0.0, 1.0]), RIGHT[:2]).counts.tolist() == [1, *[0] * 8, 1]
    assert reliability(np.zeros(0), RIGHT[:0]).expected_error == 0


def test_isotonic_map_pools_violators() -> None:
    """0.2 is right and 0.3 is not: both get a half; equal scores are one point."""
    fitted = fit_isotonic(SCORES, RIGHT)
    assert fitted.values.tolist() == pytest.approx([0, 0.5, 0.5, 1])
    assert fitted(np.array([0.0, 0.15, 0.25, 0.55, 1.0])).tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert fit_isotonic(np.array([0.5, 0.5]), RIGHT[:2]).values.tolist() == [0.5]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_map_keeps_order_and_mean(pairs: list[tuple[float, bool]]) -> None:
    scores, right = np.array([score for score, _ in pairs]), np.array([flag for _, flag in pairs])
    mapped = fit_isotonic(scores, right)(scores)
    assert (np.diff(mapped[np.argsort(scores, kind="stable")]) >= -1e-12).all()
    assert mapped.mean() == pytest.approx(right.mean())


def test_scores_outside_are_refused() -> None:
    with pytest.raises(InputError, match=r"found 1\.5"):
        fit_isotonic(np.array([0.5, 1.5]), RIGHT[:2])
    with pytest.raises(InputError, match="found none"):
        fit_isotonic(np.zeros(0), RIGHT[:0])
