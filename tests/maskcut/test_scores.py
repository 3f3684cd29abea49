import pytest
import torch

from cutler_pl.maskcut.scores import cut_scores, mask_score


def test_score_falls_with_each_factor() -> None:
    """It falls with the Ncut value, the disagreement and an extreme size."""
    assert mask_score(1.0, 1.0, 0.02) == pytest.approx(0.98)
    assert mask_score(0.75, 0.8, 0.5) == pytest.approx(0.3)
    assert mask_score(1.0, 1.0, 0.005) == pytest.approx(0.5 * 0.995)
    assert mask_score(1.0, 1.0, 1.0) == 0
    assert mask_score(0.0, 1.0, 0.5) == 0


def test_cut_scores_fall_with_ncut_value() -> None:
    values = torch.tensor([-1e-9, 0.0, 0.25, 1.0, 1.7], dtype=torch.float64)
    assert cut_scores(values).tolist() == [1.0, 1.0, 0.75, 0.0, 0.0]
