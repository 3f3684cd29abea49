from collections.abc import Callable

import numpy as np
import pytest
import torch
from cuda_twin import CpuTwin
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from cutler_pl.ops import components
from cutler_pl.ops.components import SOURCE, fill_holes, label_components

WAYS = ("scipy", "kornia", "kernels")


def on_cpu(way: str, function: Callable[..., Tensor], masks: Tensor) -> Tensor:
    """Label or fill by one of the ways, as the device's would be chosen."""
    with pytest.MonkeyPatch.context() as patch:
        if way == "kornia":
            patch.setattr(components, "_label_by_scipy", components._label_by_kornia)
            patch.setattr(components, "_fill_by_scipy", components._fill_by_labels)
        return function(masks, kernels=CpuTwin(SOURCE) if way == "kernels" else None)


def draw_mask(*rows: str) -> Tensor:
    return torch.tensor([[c == "#" for c in row] for row in rows])[None]


def spiral(side: int) -> Tensor:
    """One path of one pixel's width that winds to the middle."""
    mask = np.zeros((side, side), bool)
    y, x, dy, dx = 0, -1, 0, 1
    for length in [side, *(n for n in range(side - 1, 0, -2) for _ in range(2))]:
        for _ in range(length):
            y, x = y + dy, x + dx
            mask[y, x] = True
        dy, dx = dx, -dy
    return torch.from_numpy(mask)[None]


def assert_equals_scipy(way: str, masks: Tensor) -> None:
    labels, filled = (on_cpu(way, function, masks) for function in (label_components, fill_holes))
    for i, mask in enumerate(masks.numpy()):
        expected, count = ndimage.label(mask)
        ours = labels[i].numpy()
        first = [int(np.flatnonzero(expected == number)[0]) for number in range(1, count + 1)]
        np.testing.assert_array_equal(ours, np.array([-1, *first])[expected])
        np.testing.assert_array_equal(filled[i].numpy(), ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("way", WAYS)
def test_label_first_pixel_without_diagonals(way: str) -> None:
    mask = draw_mask("##..#", "..#.#", "#.###")
    expected = [[0, 0, -1, -1, 4], [-1, -1, 4, -1, 4], [10, -1, 4, 4, 4]]
    assert on_cpu(way, label_components, mask)[0].tolist() == expected


@pytest.mark.parametrize("way", WAYS)
@given(
    seed=st.integers(0, 1000),
    batch=st.integers(0, 3),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    share=st.sampled_from([0.0, 0.4, 0.6, 0.75, 1.0]),
)
def test_components_and_holes_equal_scipy(
    way: str, seed: int, batch: int, height: int, width: int, share: float
) -> None:
    masks = torch.rand(batch, height, width, generator=torch.Generator().manual_seed(seed)) < share
    assert_equals_scipy(way, masks)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (8, 1), (9, 14), (64, 64)])
def test_checkerboards_equal_scipy(way: str, size_hw: tuple[int, int]) -> None:
    """Every pixel of a checkerboard is a component, and none of its holes is open."""
    board = (torch.arange(size_hw[0])[:, None] + torch.arange(size_hw[1])) % 2 == 0
    assert_equals_scipy(way, torch.stack([board, ~board]))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("side", [5, 9, 65])
def test_spirals_equal_scipy(way: str, side: int) -> None:
    path = spiral(side)
    assert_equals_scipy(way, torch.cat([path, ~path]))
    assert on_cpu(way, label_components, path).unique().tolist() == [-1, 0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5), (2, 4, 0)])
def test_empty_masks_have_no_components(way: str, shape: tuple[int, int, int]) -> None:
    masks = torch.zeros(shape, dtype=torch.bool)
    assert on_cpu(way, label_components, masks).shape == shape
    assert on_cpu(way, fill_holes, masks).shape == shape


@pytest.mark.gpu
def test_gpu_finds_the_same_components() -> None:
    masks = torch.rand(5, 97, 120) < 0.6
    for function in (label_components, fill_holes, components._label_by_kornia):
        assert torch.equal(function(masks.cuda()).cpu(), function(masks))
