import logging
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.linalg
import torch
from counted_edges import CountedEdges
from hypothesis import given, settings
from hypothesis import strategies as st

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.affinity import DenseEdges, PatchGraph, build_graph
from cutler_pl.maskcut.ncut import SOLVERS, AutoSolver, Eigenpairs, LanczosSolver, ScipySolver, find_solver

EPS = 1e-5


def graph_of(edges: list[list[int]]) -> PatchGraph:
    matrix = torch.tensor(edges, dtype=torch.float32)[None]
    return PatchGraph(DenseEdges(matrix), torch.ones(1, len(edges), dtype=torch.bool), images=(0,), eps=EPS)


def residual(graph: PatchGraph, pairs: Eigenpairs) -> float:
    """Of the unit eigenvector D^½ v of one graph."""
    W, v = graph.weights()[0], pairs.vectors[0]
    degrees = W.sum(1)
    return float(torch.linalg.vector_norm((degrees * v - W @ v - pairs.values[0] * degrees * v) / degrees.sqrt()))


def gap(graph: PatchGraph) -> float:
    """Distance of the second and third eigenvalue of one graph; infinite for two patches."""
    W = graph.weights()[0].numpy()
    D = np.diag(W.sum(1))
    values = scipy.linalg.eigh(D - W, D, eigvals_only=True)
    return float(values[2] - values[1]) if len(values) > 2 else np.inf


def no_fallback(graph: PatchGraph) -> Eigenpairs:
    raise AssertionError("the fast solver fell back to the full decomposition")


@dataclass(frozen=True)
class CalledSolver:
    """Raises its name when called."""

    name: str

    def __call__(self, graph: PatchGraph) -> Eigenpairs:
        raise InterruptedError(self.name)


def noisy_graph(seed: int, h: int, w: int, blobs: int = 2, noise: float = 1.0, tau: float = 0.15) -> PatchGraph:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, blobs + 1, (h, w), generator=generator)
    directions = torch.eye(blobs + 1, 16)
    features = directions[label] + noise * torch.randn(h, w, 16, generator=generator) / 4
    return build_graph(features.permute(2, 0, 1)[None], tau=tau, eps=EPS)


@pytest.mark.parametrize("solver", ["scipy", "lanczos"])
def test_two_patches_by_hand(solver: str) -> None:
    # W = [[1, e], [e, 1]], D = (1 + e) I: lambda = 2 e / (1 + e), v = (1, -1) / sqrt(2 (1 + e)); C is its own
    # tridiagonal form, whose larger entry LAPACK makes positive: here both are as large, so that the sign is free
    pairs = SOLVERS[solver](graph_of([[1, 0], [0, 1]]))
    assert pairs.values.item() == pytest.approx(2 * EPS / (1 + EPS), rel=1e-9)
    v = pairs.vectors[0] * pairs.vectors[0, 0].sign()
    np.testing.assert_allclose(v, np.array([1, -1]) / np.sqrt(2 * (1 + EPS)), rtol=1e-9)


@pytest.mark.parametrize("solver", ["scipy", "lanczos"])
def test_separate_two_groups(solver: str) -> None:
    edges = torch.block_diag(torch.ones(3, 3), torch.ones(5, 5)).int().tolist()
    v = SOLVERS[solver](graph_of(edges)).vectors[0].numpy()
    assert np.ptp(v[:3]) < 1e-12
    assert np.ptp(v[3:]) < 1e-12
    # D-orthogonal to the constant vector: the sums of v over both groups, times their degrees, cancel
    degree = np.array([3 + 5 * EPS] * 3 + [5 + 3 * EPS] * 5)
    assert degree @ v == pytest.approx(0, abs=1e-9)
    assert (degree * v) @ v == pytest.approx(1, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    h=st.integers(1, 9),
    w=st.integers(2, 9),
    tau=st.sampled_from([0.0, 0.15, 0.5]),
    blank_share=st.sampled_from([0.0, 0.2]),
)
def test_lanczos_equals_full_decomposition(seed: int, h: int, w: int, tau: float, blank_share: float) -> None:
    graph = noisy_graph(seed, h, w, tau=tau)
    graph = graph.blank(torch.rand(1, h * w, generator=torch.Generator().manual_seed(seed)) < blank_share)
    full = ScipySolver()(graph)
    for solver in (LanczosSolver(), LanczosSolver(complete_below=0)):
        fast = solver(graph)
        torch.testing.assert_close(fast.values, full.values, rtol=0, atol=1e-9)
        assert residual(graph, fast) < 1e-8
        if gap(graph) > 1e-4:  # up to sign: in a tiny symmetric graph LAPACK's hangs on rounding
            sign = (fast.vectors * full.vectors).sum().sign()
            torch.testing.assert_close(sign * fast.vectors, full.vectors, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_lanczos_few_matvecs_lapack_sign(seed: int) -> None:
    graph = noisy_graph(seed, 18, 25, blobs=3, noise=1.5)
    counted = CountedEdges(graph.edges)
    fast, full = LanczosSolver(reference=no_fallback)(replace(graph, edges=counted)), ScipySolver()(graph)
    assert counted.matvecs <= 61  # one more for the degrees
    torch.testing.assert_close(fast.vectors, full.vectors, rtol=0, atol=1e-8)
    torch.testing.assert_close(fast.values, full.values, rtol=0, atol=1e-12)


def test_batch_equals_graphs_alone() -> None:
    features = torch.randn(4, 6, 12, 13) + 2 * torch.randn(4, 6, 1, 13)
    graph = build_graph(features, tau=0.15, eps=EPS)
    together = LanczosSolver()(graph)
    for i in range(4):
        alone = LanczosSolver()(graph.select([i]))
        torch.testing.assert_close(together.vectors[i], alone.vectors[0], rtol=0, atol=1e-11)


def test_noise_free_graph_converges_early() -> None:
    """And to the smallest eigenvalue."""
    sizes = [40, 30, 30, 25, 15]  # two equal groups, far from the first patch
    graph = graph_of(torch.block_diag(*[torch.ones(n, n) for n in sizes]).int().tolist())
    counted = CountedEdges(graph.edges)
    fast, full = LanczosSolver(reference=no_fallback)(replace(graph, edges=counted)), ScipySolver()(graph)
    assert counted.matvecs < 41  # one more for the degrees
    torch.testing.assert_close(fast.values, full.values, rtol=0, atol=1e-12)
    assert residual(graph, fast) < 1e-12


def test_find_vector_orthogonal_to_start() -> None:
    # a ladder of 80 patches whose mirror image is itself, and the first patch on the mirror's axis: the wanted
    # vector is odd, and every vector that products reach from the first patch is even
    n = 81
    edges = np.zeros((n, n), dtype=int)
    half = [list(range(1, 41)), list(range(41, 81))]
    for side in half:
        edges[np.ix_(side[10:], side[10:])] = 1
        for a, b in zip([0, *side[:10]], side[:11], strict=True):
            edges[a, b] = edges[b, a] = 1
    np.fill_diagonal(edges, 1)
    fast, full = LanczosSolver()(graph_of(edges.tolist())), ScipySolver()(graph_of(edges.tolist()))
    v = full.vectors[0].numpy()
    assert abs(v[0]) < 1e-9
    np.testing.assert_allclose(v[half[0]], -v[half[1]], atol=1e-9)
    torch.testing.assert_close(fast.values, full.values, rtol=0, atol=1e-10)
    torch.testing.assert_close(fast.vectors.abs(), full.vectors.abs(), rtol=0, atol=1e-7)


def test_fall_back_and_log(caplog: pytest.LogCaptureFixture) -> None:
    features = torch.randn(3, 6, 10, 11)
    graph = build_graph(features, tau=0.15, eps=EPS)
    with caplog.at_level(logging.INFO, logger="cutler_pl"):
        pairs = LanczosSolver(max_steps=5)(graph)
    full = ScipySolver()(graph)
    assert "3 of 3 graphs" in caplog.text
    torch.testing.assert_close(pairs.vectors, full.vectors)


def test_fall_back_on_weak_links(caplog: pytest.LogCaptureFixture) -> None:
    graph = graph_of(torch.block_diag(torch.ones(40, 40), torch.ones(30, 30)).int().tolist())
    with caplog.at_level(logging.INFO, logger="cutler_pl"):
        pairs = LanczosSolver(max_steps=3)(graph)
    assert "1 of 1 graphs" in caplog.text
    torch.testing.assert_close(pairs.values, ScipySolver()(graph).values)


def test_auto_solver_by_graph_size() -> None:
    solver = AutoSolver(full=CalledSolver("full"), iterative=CalledSolver("iterative"))
    for side, called in ((4, "full"), (12, "iterative")):
        with pytest.raises(InterruptedError, match=called):
            solver(noisy_graph(0, side, side))


def test_find_solver_by_name_or_object() -> None:
    solver = LanczosSolver(tolerance=1e-6)
    assert find_solver(solver) is solver
    assert find_solver("scipy") is SOLVERS["scipy"]
    with pytest.raises(ConfigError, match="'lobpcg' is unknown; choose from auto, lanczos, scipy"):
        find_solver("lobpcg")


@pytest.mark.gpu
def test_gpu_eigenvectors_equal_cpu() -> None:
    features = torch.randn(4, 6, 20, 21) + 2 * torch.randn(4, 6, 1, 21)
    graph, there = (build_graph(f, tau=0.15, eps=EPS) for f in (features, features.cuda()))
    torch.testing.assert_close(LanczosSolver()(there).vectors.cpu(), LanczosSolver()(graph).vectors, rtol=0, atol=1e-10)
