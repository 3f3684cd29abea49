import numpy as np
import pytest
import torch
from cuda_twin import CpuTwin
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from cutler_pl.ops.components import SOURCE, fill_holes, label_parts
from cutler_pl.runtime.kernels import Kernels


@pytest.fixture(scope="module")
def twin() -> CpuTwin:
    return CpuTwin(SOURCE)


def drawn(*rows: str) -> torch.Tensor:
    return torch.tensor([[c == "#" for c in row] for row in rows])[None]


@pytest.mark.parametrize("on_kernels", [False, True])
def test_parts_are_named_after_their_first_pixel_and_diagonals_do_not_connect(on_kernels: bool, twin: CpuTwin) -> None:
    mask = drawn("##..#", "..#.#", "#.###")
    expected = [[0, 0, -1, -1, 4], [-1, -1, 4, -1, 4], [10, -1, 4, 4, 4]]
    assert label_parts(mask, kernels=twin if on_kernels else None)[0].tolist() == expected


@given(
    seed=st.integers(0, 1000),
    batch=st.integers(0, 3),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    share=st.sampled_from([0.0, 0.4, 0.6, 0.75, 1.0]),
)
def test_parts_and_holes_are_those_of_scipy(seed: int, batch: int, height: int, width: int, share: float) -> None:
    masks = torch.rand(batch, height, width, generator=torch.Generator().manual_seed(seed)) < share
    on_cpu: Kernels | None = None
    for kernels in (on_cpu, CpuTwin(SOURCE)):
        labels = label_parts(masks, kernels=kernels)
        filled = fill_holes(masks, kernels=kernels)
        for i in range(batch):
            parts, count = ndimage.label(masks[i].numpy())
            ours = labels[i].numpy()
            assert np.array_equal(ours >= 0, parts > 0)
            pairs = {(int(a), int(b)) for a, b in zip(ours[parts > 0], parts[parts > 0], strict=True)}
            assert len(pairs) == count == len({a for a, _ in pairs})
            np.testing.assert_array_equal(filled[i].numpy(), ndimage.binary_fill_holes(masks[i].numpy()))


def test_a_spiral_is_one_part(twin: CpuTwin) -> None:
    spiral = drawn(
        "########", ".......#", "######.#", "#....#.#", "#.##.#.#", "#.#..#.#", "#.####.#", "#......#", "########"
    )
    assert label_parts(spiral, kernels=twin).unique().tolist() == [-1, 0]


@pytest.mark.gpu
def test_the_gpu_finds_the_same_parts_and_holes() -> None:
    masks = torch.rand(5, 97, 120) < 0.6
    assert torch.equal(label_parts(masks.cuda()).cpu(), label_parts(masks))
    assert torch.equal(fill_holes(masks.cuda()).cpu(), fill_holes(masks))
