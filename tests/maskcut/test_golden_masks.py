"""Graphs, eigenvectors and masks equal those recorded with the original."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from counted_edges import CountedEdges
from recorded_cuts import CASES, ROUNDED, assert_vectors_equal, compare, dropped, recorded_masks

from cutler_pl.maskcut import MaskCutParams, maskcut
from cutler_pl.maskcut.affinity import DenseEdges, PatchGraph, build_graph
from cutler_pl.maskcut.ncut import Eigenpairs, LanczosSolver

from .conftest import no_fallback


class CheckedLanczos:
    """Lanczos that may not fall back; checks the products with each graph and the residual."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: PatchGraph) -> Eigenpairs:
        self.graphs += len(graph.images)
        counting = CountedEdges(graph.edges)
        pairs = LanczosSolver(reference=no_fallback)(replace(graph, edges=counting))
        assert counting.matvecs <= 42  # of which one is for the degrees and one for the solver's own residual
        degrees = graph.patches * graph.eps + (1 - graph.eps) * graph.degrees()
        Wv = graph.eps * pairs.vectors.sum(1, keepdim=True) + (1 - graph.eps) * graph.matvec(pairs.vectors)
        residuals = (degrees * pairs.vectors - Wv - pairs.values[:, None] * degrees * pairs.vectors) / degrees.sqrt()
        assert (torch.linalg.vector_norm(residuals, dim=1) < 1e-9).all()
        return pairs


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_graphs_equal_original(case: str, recorded) -> None:
    """Every edge of every round."""
    facts, arrays, features = recorded(case)
    exact = build_graph(features, tau=facts["tau"], eps=1e-5).edges.dense(0)
    kept = np.ones(facts["grid"] ** 2, dtype=bool)
    for r, mask in enumerate(recorded_masks(facts, arrays)):
        edges = exact.numpy() == 1
        if r == 0 and case in ROUNDED:
            i, j = ROUNDED[case]
            assert not edges[i, j]
            edges[[i, j], [j, i]] = True
        edges = edges & kept & kept[:, None]
        assert zlib.crc32(np.packbits(edges)) == facts["rounds"][r]["affinity_packbits_crc32"]
        kept &= ~mask.ravel()


@pytest.mark.golden
def test_eigenvector_with_the_float32_edge(recorded) -> None:
    """With the edge that float32 adds, the eigenvector is the recorded one."""
    ((case, (i, j)),) = ROUNDED.items()
    facts, arrays, features = recorded(case)
    graph = build_graph(features, tau=facts["tau"], eps=1e-5)
    edges = graph.edges.dense(0).clone()
    edges[[i, j], [j, i]] = 1
    pairs = LanczosSolver()(replace(graph, edges=DenseEdges(edges[None])))
    assert_vectors_equal(pairs.vectors[0], arrays, 0)
    assert pairs.values.item() == pytest.approx(facts["rounds"][0]["lam2"], abs=1e-9)


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_lanczos_masks_equal_original(case: str, recorded) -> None:
    facts, arrays, features = recorded(case)
    solver = CheckedLanczos()
    result = maskcut(features, MaskCutParams(tau=facts["tau"], num_masks=facts["N"]), solver=solver)
    compare(facts, arrays, result)
    assert solver.graphs == facts["N"] - int(dropped(result)[:, :-1].sum())  # a dropped round's cut is reused


@pytest.mark.golden
@pytest.mark.usefixtures("kernels_on_the_cpu")
@pytest.mark.parametrize("case", CASES)
def test_kernel_masks_equal_original(case: str, recorded) -> None:
    facts, arrays, features = recorded(case)
    solver = LanczosSolver(reference=no_fallback)
    compare(facts, arrays, maskcut(features, MaskCutParams(tau=facts["tau"], num_masks=facts["N"]), solver=solver))


@pytest.mark.golden
@pytest.mark.parametrize(
    "case",
    [
        "c14_photo_demo2_p16",
        *(pytest.param(c, marks=pytest.mark.slow) for c in ("c12_photo_demo3_p8", "c21_signsens_b")),
    ],
)
def test_full_decomposition_masks_equal_original(case: str, recorded) -> None:
    facts, arrays, features = recorded(case)
    result = maskcut(features, MaskCutParams(tau=facts["tau"], num_masks=facts["N"]), solver="scipy")
    compare(facts, arrays, result)


@pytest.mark.golden
def test_invariant_corner_rule(recorded) -> None:
    """It differs from the original's only where the eigenvector's sign decides."""
    for case, same in (("c14_photo_demo2_p16", True), ("c20_signsens_a", False)):
        facts, arrays, features = recorded(case)
        assert any(r["sign_sensitive"] for r in facts["rounds"]) != same
        params = MaskCutParams(tau=facts["tau"], num_masks=facts["N"], corner_rule="invariant")
        masks = maskcut(features, params).masks[0].numpy()
        assert np.array_equal(masks, recorded_masks(facts, arrays)) == same
