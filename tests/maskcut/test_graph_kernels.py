"""The patch graph's CUDA kernels, run as they are on the CPU, beside what they stand for."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from counted_edges import CountedEdges
from cuda_twin import CpuTwin

from cutler_pl.maskcut.affinity import SOURCE, PackedEdges, build_graph
from cutler_pl.maskcut.eigen.kernel_tridiagonal import KernelTridiagonal
from cutler_pl.maskcut.eigen.ritz import second_ritz_pairs
from cutler_pl.maskcut.eigen.tridiagonal import HouseholderTridiagonal, NormalisedLaplacian
from cutler_pl.maskcut.ncut import LanczosSolver


@pytest.fixture(scope="module")
def twin() -> CpuTwin:
    return CpuTwin(SOURCE)


@pytest.mark.parametrize("grid", [(1, 2), (4, 8), (5, 7), (13, 20)])
def test_packed_edges_equal_dense(grid: tuple[int, int], twin: CpuTwin) -> None:
    features = torch.randn(3, 6, *grid)
    dense, packed = (build_graph(features, tau=0.15, eps=1e-5, kernels=k) for k in (None, twin))
    assert isinstance(packed.edges, PackedEdges)
    assert packed.edges.bits.numel() * 32 >= 3 * dense.patches**2
    for i in range(3):
        assert torch.equal(packed.edges.dense(i), dense.edges.dense(i))


def test_packed_matvec_equals_dense(twin: CpuTwin) -> None:
    """For any selection of graphs."""
    features = torch.randn(4, 6, 9, 11)
    blank = torch.rand(3, 99) < 0.2
    dense, packed = (
        build_graph(features, tau=0.15, eps=1e-5, kernels=k).select([3, 0, 2]).blank(blank) for k in (None, twin)
    )
    x = torch.randn(3, 99, dtype=torch.float64)
    torch.testing.assert_close(packed.matvec(x), dense.matvec(x), rtol=0, atol=1e-13)
    assert torch.equal(packed.degrees(), dense.degrees())


@pytest.mark.parametrize("size", [2, 3, 5, 16, 40])
def test_second_pairs_equal_lapack(size: int, twin: CpuTwin) -> None:
    rng = np.random.default_rng(size)
    diagonals = torch.from_numpy(rng.uniform(0, 1, (20, size)))
    offdiagonals = torch.from_numpy(rng.uniform(-0.5, 0.5, (20, size - 1)))
    pairs = second_ritz_pairs(diagonals, offdiagonals, kernels=twin)
    for i in range(20):
        values, vectors = scipy.linalg.eigh_tridiagonal(diagonals[i].numpy(), offdiagonals[i].numpy())
        y = vectors[:, 1] * np.sign(vectors[np.abs(vectors[:, 1]).argmax(), 1])
        assert pairs.values[i].item() == pytest.approx(values[1], abs=2e-15)
        gap = values[2] - values[1] if size > 2 else np.inf
        assert pairs.gaps[i].item() == pytest.approx(gap, abs=4e-15)
        np.testing.assert_allclose(pairs.vectors[i], y, rtol=0, atol=1e-14 / min(gap, 1.0))


def test_solve_hard_pairs_on_host(twin: CpuTwin) -> None:
    diagonals = torch.tensor([[0.0, 1, 1, 2], [0, 0.5, 0.7, 0.9]], dtype=torch.float64)
    offdiagonals = torch.tensor([[0.0, 0, 0], [0.2, 0.0, 0.1]], dtype=torch.float64)
    kernel, host = (second_ritz_pairs(diagonals, offdiagonals, kernels=k) for k in (twin, None))
    assert torch.equal(kernel.vectors, host.vectors)
    assert torch.equal(kernel.values, host.values)


def test_packed_eigenvectors_equal_dense(twin: CpuTwin) -> None:
    features = torch.randn(4, 6, 12, 13) + 2 * torch.randn(4, 6, 1, 13)
    counted, pairs = [], []
    for kernels in (None, twin):
        graph = build_graph(features, tau=0.15, eps=1e-5, kernels=kernels)
        counted.append(CountedEdges(graph.edges))
        pairs.append(LanczosSolver()(replace(graph, edges=counted[-1])))
    torch.testing.assert_close(pairs[1].vectors, pairs[0].vectors, rtol=0, atol=1e-10)
    assert counted[0].matvecs == counted[1].matvecs


def test_doubtful_edges_are_settled_in_float64(twin: CpuTwin) -> None:
    """Two directions whose cosine is a billionth above or below τ."""
    angle = np.arccos(0.5)
    for shift, is_edge in ((-1e-9, True), (1e-9, False)):
        features = torch.tensor([[1.0, 0.0], [np.cos(angle + shift), np.sin(angle + shift)]], dtype=torch.float64)
        graph = build_graph(features.T.reshape(1, 2, 1, 2), tau=0.5, eps=1e-5, kernels=twin)
        assert bool(graph.edges.dense(0)[0, 1]) == is_edge


@pytest.mark.parametrize("may_restart", [True, False])
def test_reduction_by_kernels_equals_torchs(may_restart: bool, twin: CpuTwin) -> None:
    """For noise, and for a graph whose Krylov space ends early."""
    plain = torch.zeros(1, 6, 4, 5)
    plain[:, 0, :, :2] = plain[:, 1, :, 2:] = 1
    features = torch.cat([torch.randn(2, 6, 4, 5), plain])
    dense, packed = (NormalisedLaplacian.of(build_graph(features, tau=0.15, eps=0.1, kernels=k)) for k in (None, twin))
    expected = HouseholderTridiagonal.start(dense, 12, may_restart=may_restart)
    assert isinstance(packed.graph.edges, PackedEdges)
    found = KernelTridiagonal.start(packed, packed.graph.edges, 12, may_restart=may_restart)
    images = slice(None) if may_restart else slice(2)  # without a restart, rounding decides what follows the end
    for _ in range(12):
        expected.step()
        found.step()
        for ours, theirs in zip(found.tridiagonals(), expected.tridiagonals(), strict=True):
            torch.testing.assert_close(ours[images], theirs[images], rtol=0, atol=1e-12)
    y = torch.randn(3, 20, dtype=torch.float64)
    torch.testing.assert_close(found.rotate(y)[images], expected.rotate(y)[images], rtol=0, atol=1e-12)
