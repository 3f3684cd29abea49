import pytest

from cutler_pl.maskcut.scores import mask_score


def test_score_falls_with_each_factor() -> None:
    """It falls with the Ncut value, the disagreement and an extreme size."""
    assert mask_score(0.0, 1.0, 0.02) == pytest.approx(0.98)
    assert mask_score(0.25, 0.8, 0.5) == pytest.approx(0.3)
    assert mask_score(0.0, 1.0, 0.005) == pytest.approx(0.5 * 0.995)
    assert mask_score(0.0, 1.0, 1.0) == 0
    assert mask_score(1.7, 1.0, 0.5) == 0
