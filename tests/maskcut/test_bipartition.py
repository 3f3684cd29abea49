from typing import NamedTuple

import numpy as np
import pytest
import torch

from cutler_pl.maskcut import MaskCutParams
from cutler_pl.maskcut.bipartition import bipartition, is_dropped


class Cut(NamedTuple):
    """One grid's part of a batch of cuts."""

    mask: np.ndarray
    vector: np.ndarray


def cut_one(
    vector: np.ndarray,
    eigenvalue: float = 0.3,
    *,
    blank: np.ndarray | None = None,
    previous: np.ndarray | None = None,
    corner_rule: str = "original",
) -> Cut:
    """Cut one grid, as the second of a batch of three."""

    def batch(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.stack([np.roll(array, 1), array, np.rot90(array, 2)]))

    cut = bipartition(
        batch(vector),
        torch.full((3,), eigenvalue, dtype=torch.float64),
        blank=batch(np.zeros(vector.shape, dtype=bool) if blank is None else blank),
        previous=batch(np.zeros(vector.shape, dtype=bool) if previous is None else previous),
        corner_rule=corner_rule,
    )
    return Cut(cut.masks[1].numpy(), cut.vectors[1].numpy())


def centre_block() -> np.ndarray:
    vector = np.full((4, 5), -0.1)
    vector[1:3, 1:3] = [[0.5, 0.6], [0.5, 0.9]]
    return vector


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_inner_block_is_object(sign: float) -> None:
    """Whatever the sign of the eigenvector."""
    vector = sign * centre_block()
    cut = cut_one(vector)
    expected = np.zeros((4, 5), dtype=bool)
    expected[1:3, 1:3] = True
    np.testing.assert_array_equal(cut.mask, expected)
    np.testing.assert_array_equal(cut.vector, centre_block())


def three_corners() -> np.ndarray:
    """Seed's side: all but a block in one corner."""
    vector = np.full((4, 4), 0.3)
    vector[1, 2] = 0.9
    vector[2:, 2:] = -0.5
    return vector


def test_sign_decides_with_three_corners() -> None:
    plus = cut_one(three_corners())
    minus = cut_one(-three_corners())
    np.testing.assert_array_equal(plus.mask, three_corners() < 0)
    np.testing.assert_array_equal(minus.mask, three_corners() > 0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_invariant_rule_takes_other_side(sign: float) -> None:
    vector = sign * three_corners()
    cut = cut_one(vector, corner_rule="invariant")
    np.testing.assert_array_equal(cut.mask, three_corners() < 0)
    np.testing.assert_array_equal(cut.vector, -three_corners())


def test_keep_seed_component_only() -> None:
    """Diagonal neighbours are not connected."""
    vector = np.array([[-1, -1, -1, -1], [-1, 3, -1, 2], [-1, -1, 2, -1], [-1, -1, -1, -1]], dtype=float)
    cut = cut_one(vector)
    assert np.argwhere(cut.mask).tolist() == [[1, 1]]


def test_blank_patches_follow_mean_sign() -> None:
    vector = np.array([[4.0, -1, -1, -1, -1, -0.5]])
    mean = vector.mean()
    assert mean < 0
    blank = np.array([[False, False, False, False, False, True]])
    vector[0, 5] = mean + 1e-12  # rounding put it on the wrong side of a negative mean
    below = cut_one(vector, 1e-7, blank=blank)
    assert below.mask.tolist() == [[True, False, False, False, False, False]]
    # with λ > 1 blank patches lie on the other side of the mean
    above = cut_one(vector, 1.1, blank=np.array([[False, True, False, False, False, False]]))
    assert above.mask.tolist() == [[True, True, False, False, False, False]]


def test_order_of_equal_components() -> None:
    """The one at the border wins, then the largest, then that of the previous round."""

    def cut(rows: list[str], previous: np.ndarray | None = None) -> list[str]:
        vector = np.array([[1.0 if c == "#" else -0.1 for c in row] for row in rows])
        mask = cut_one(vector, previous=previous).mask
        return ["".join("#" if m else "." for m in row) for row in mask]

    assert cut([".....", ".##..", ".....", "....#", "....."]) == [".....", ".....", ".....", "....#", "....."]
    assert cut([".....", ".#...", ".....", ".##..", "....."]) == [".....", ".....", ".....", ".##..", "....."]
    previous = np.zeros((5, 5), dtype=bool)
    previous[3, 3] = True
    rows = [".....", ".#...", ".....", "...#.", "....."]
    assert cut(rows) == [".....", ".#...", ".....", ".....", "....."]
    assert cut(rows, previous) == [".....", ".....", ".....", "...#.", "....."]


def test_constant_vector_gives_empty_mask() -> None:
    vector = np.zeros((3, 3))
    assert not cut_one(vector, 1.0).mask.any()


def test_cut_single_row() -> None:
    vector = np.array([[-1.0, -1, 2, 3, -1, -1, -1]])
    assert cut_one(vector).mask.tolist() == [[False, False, True, True] + [False] * 3]


def grids(*masks: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(masks))


def test_drop_overlapping_or_small_round() -> None:
    """Above an IoU of one half, or up to one percent of the patches."""
    flat = np.arange(3600).reshape(60, 60)
    nothing = np.zeros((60, 60), dtype=bool)
    masks = grids(flat < 36, flat < 37, flat < 100, flat < 101)  # the third overlaps by exactly a half
    previous = grids(nothing, nothing, flat < 200, flat < 200)
    assert is_dropped(masks, previous, MaskCutParams()).tolist() == [True, False, False, True]


def test_empty_batch() -> None:
    empty = torch.zeros(0, 3, 4, dtype=torch.float64)
    cut = bipartition(empty, torch.zeros(0, dtype=torch.float64), blank=empty.bool(), previous=empty.bool())
    assert cut.masks.shape == cut.vectors.shape == (0, 3, 4)
