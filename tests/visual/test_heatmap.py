import numpy as np
import pytest
import torch

from cutler_pl.visual.colors import diverging_table
from cutler_pl.visual.heatmap import draw_heatmap


def _image(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_neutral_center_blue_below_red_above() -> None:
    table = diverging_table()
    values = np.array([[-2.0, 0.0, 2.0]])
    drawn = draw_heatmap(_image(10, 30), values, center=0.0, opacity=1.0)
    assert np.array_equal(drawn[5, 5], table[0])
    assert np.array_equal(drawn[5, 15], table[len(table) // 2])
    assert np.array_equal(drawn[5, 25], table[-1])


def test_reach_makes_maps_comparable() -> None:
    """A small distance from the center is pale, though it is the largest there is."""
    drawn = draw_heatmap(_image(4, 4), np.array([[0.5, 1.0]]), center=1.0, reach=1.0, opacity=1.0)
    assert np.array_equal(drawn[0, 0], diverging_table()[64])


def test_center_on_mean() -> None:
    values = np.array([[1.0, 1.0, 1.0, 5.0]])
    drawn = draw_heatmap(_image(4, 4), values, opacity=1.0).astype(int)
    assert drawn[0, 0, 2] > drawn[0, 0, 0]
    assert drawn[0, 3, 0] > drawn[0, 3, 2]


def test_nearest_patches() -> None:
    values = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    nearest = draw_heatmap(_image(40, 40), values, opacity=1.0)
    assert len(np.unique(nearest.reshape(-1, 3), axis=0)) == 2


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_constant_is_neutral(value: float) -> None:
    drawn = draw_heatmap(_image(8, 8), np.full((2, 2), value), opacity=1.0)
    assert (drawn == diverging_table()[128]).all()


def test_nonfinite_values_are_black() -> None:
    drawn = draw_heatmap(_image(4, 6), np.array([[0.0, np.nan, 1.0]]), opacity=1.0)
    assert not drawn[:, 2:4].any()
    assert drawn[:, [0, 1, 4, 5]].any(axis=2).all()


def test_heatmap_blends_with_the_grey_of_the_image() -> None:
    image = np.full((4, 4, 3), 40, dtype=np.uint8)
    drawn = draw_heatmap(image, np.zeros((2, 2)), opacity=0.5)
    assert np.array_equal(drawn[0, 0], np.rint(0.5 * diverging_table()[128] + 20).astype(np.uint8))
