import pytest
import torch

from cutler_pl.ops.groups import effective_group_size, row_weights


@pytest.mark.parametrize(("images", "asked", "size"), [(4, 2, 2), (4, None, 4), (3, 2, 3), (1, 2, 1), (6, 6, 6)])
def test_partial_groups_make_one(images: int, asked: int | None, size: int) -> None:
    assert effective_group_size(images, asked) == size


def test_weighted_sum_is_mean_of_group_means() -> None:
    images = torch.tensor([0, 0, 1, 2, 5])
    values = torch.tensor([1.0, 2.0, 6.0, 4.0, 8.0])
    weights = row_weights(images, num_images=6, group_size=2)
    assert weights is not None
    assert float((values * weights).sum()) == pytest.approx((9 / 3 + 4 + 8) / 3)


def test_group_without_rows_counts_as_zero() -> None:
    weights = row_weights(torch.tensor([2, 3]), num_images=4, group_size=2)
    assert weights is not None
    assert weights.tolist() == [0.25, 0.25]
    assert row_weights(torch.zeros(0, dtype=torch.int64), num_images=4, group_size=2).shape == (0,)


def test_one_group_needs_no_weights() -> None:
    assert row_weights(torch.tensor([0, 1]), num_images=2, group_size=2) is None
