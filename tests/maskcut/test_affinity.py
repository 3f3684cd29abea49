import math

import pytest
import torch
import torch.nn.functional as F

from cutler_pl.maskcut.affinity import DenseEdges, build_graph


def grid(*vectors: list[float]) -> torch.Tensor:
    """Features of one image whose patches, in one row, have these vectors."""
    return torch.tensor(vectors, dtype=torch.float32).T[None, :, None, :]


def test_patches_are_joined_above_the_threshold_only() -> None:
    graph = build_graph(grid([1, 0], [2, 0], [1, 1], [0, 3]), tau=0.5, eps=1e-5)
    expected = [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 1, 1]]
    assert graph.edges.dense(0).tolist() == expected
    assert graph.degrees()[0].tolist() == [3, 3, 4, 2]


def test_similarity_equal_to_the_threshold_is_no_edge() -> None:
    assert build_graph(grid([1, 0], [0, 1]), tau=0.0, eps=1e-5).edges.dense(0).tolist() == [[1, 0], [0, 1]]


def test_edges_near_threshold_equal_float64() -> None:
    features = torch.randn(1, 384, 12, 20)
    directions = F.normalize(features.flatten(2).double(), dim=1)[0]
    cosines = directions.T @ directions
    levels = cosines[cosines > 0].sort().values
    gaps = levels.diff()
    gaps[gaps < 1e-11] = 1  # a pair and its mirror image
    for place in gaps.argsort()[:10].tolist():
        tau = float(levels[place : place + 2].mean())
        for order in (torch.arange(384), torch.randperm(384)):  # of the channels, so of the sums
            graph = build_graph(features[:, order], tau=tau, eps=1e-5)
            assert torch.equal(graph.edges.dense(0), (cosines > tau).float())


@pytest.mark.parametrize("side", [-1, 1])
def test_all_edges_near_threshold_equal_float64(side: int) -> None:
    vectors = torch.randn(384, 2, dtype=torch.float64)
    features = vectors.repeat(1, 30).view(1, 384, 6, 10)
    cosine = float(F.cosine_similarity(vectors[:, 0], vectors[:, 1], dim=0))
    graph = build_graph(features, tau=cosine + side * 1e-12, eps=1e-5)
    assert graph.degrees().unique().tolist() == [30 if side > 0 else 60]


def test_blank_patches_have_no_edges() -> None:
    """A patch without features has none either."""
    features = grid([1, 0], [1, 0], [0, 0], [1, 0])
    graph = build_graph(features, tau=0.15, eps=1e-5).blank(torch.tensor([[False, True, False, False]]))
    eps = 1e-5
    expected = torch.tensor([[1, eps, eps, 1], [eps] * 4, [eps] * 4, [1, eps, eps, 1]], dtype=torch.float64)
    torch.testing.assert_close(graph.weights()[0], expected, rtol=0, atol=1e-15)
    assert graph.degrees()[0].tolist() == [2, 0, 0, 2]


def test_blanking_gives_the_graph_of_blanked_features() -> None:
    features = torch.randn(1, 6, 5, 4)
    found = torch.rand(1, 20) < 0.3
    blanked = build_graph(features * ~found.view(1, 1, 5, 4), tau=0.15, eps=1e-5)
    torch.testing.assert_close(build_graph(features, tau=0.15, eps=1e-5).blank(found).weights(), blanked.weights())


def test_products_are_as_exact_as_float64() -> None:
    graph = build_graph(torch.randn(1, 4, 17, 31), tau=0.15, eps=1e-5)
    x = torch.randn(1, 527, dtype=torch.float64) * torch.logspace(-9, 3, 527, dtype=torch.float64)
    product = graph.matvec(x)[0]
    exact = [math.fsum(x[0, row.bool()].tolist()) for row in graph.edges.dense(0)]
    error = (product - torch.tensor(exact, dtype=torch.float64)).abs().max()
    assert error < 527 * 2.0**-52 * x.abs().max()


def test_products_ignore_patch_order() -> None:
    features = torch.randn(1, 4, 1, 300)
    order = torch.randperm(300)
    x = torch.randn(1, 300, dtype=torch.float64)
    product = build_graph(features, tau=0.15, eps=1e-5).matvec(x)
    permuted = build_graph(features[..., order], tau=0.15, eps=1e-5)
    graph = build_graph(features, tau=0.15, eps=1e-5)
    assert torch.equal(permuted.edges.dense(0), graph.edges.dense(0)[order][:, order])
    assert torch.equal(permuted.matvec(x[:, order]), product[:, order])


def test_products_ignore_a_reduced_matmul_precision() -> None:
    graph = build_graph(torch.randn(1, 4, 10, 10), tau=0.15, eps=1e-5)
    x = torch.randn(1, 100, dtype=torch.float64)
    expected = graph.matvec(x)
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(graph.matvec(x), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_selection_shares_the_edges() -> None:
    graph = build_graph(torch.randn(3, 4, 6, 5), tau=0.15, eps=1e-5)
    part = graph.select([2, 0])
    x = torch.randn(3, 30, dtype=torch.float64)
    assert part.edges is graph.edges
    assert torch.equal(part.matvec(x[[2, 0]]), graph.matvec(x)[[2, 0]])
    assert torch.equal(part.select([1]).weights()[0], graph.weights()[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_features_of_any_float_type_are_accepted(dtype: torch.dtype) -> None:
    graph = build_graph(torch.randn(2, 8, 3, 3).to(dtype), tau=0.15, eps=1e-5)
    assert isinstance(graph.edges, DenseEdges)
    for i in range(2):
        matrix = graph.edges.dense(i)
        assert matrix.dtype == torch.float32
        assert torch.equal(matrix, matrix.T)
        assert (matrix.diagonal() == 1).all()
