import numpy as np
import pytest
import scipy.linalg
import torch

from cutler_pl.maskcut.affinity import build_graph
from cutler_pl.maskcut.eigen.tridiagonal import HouseholderTridiagonal, NormalisedLaplacian


@pytest.fixture
def operator() -> NormalisedLaplacian:
    return NormalisedLaplacian.of(build_graph(torch.randn(2, 6, 5, 7), tau=0.15, eps=1e-5))


def dense(operator: NormalisedLaplacian, i: int) -> np.ndarray:
    W = operator.graph.weights()[i].numpy()
    root = np.sqrt(W.sum(1))
    return np.eye(len(W)) - W / root / root[:, None]


def test_operator_is_normalised_laplacian(operator: NormalisedLaplacian) -> None:
    x = torch.randn(2, 35, dtype=torch.float64)
    for i in range(2):
        np.testing.assert_allclose(operator(x)[i], dense(operator, i) @ x[i].numpy(), rtol=0, atol=1e-13)


def test_tridiagonal_form_equals_lapack(operator: NormalisedLaplacian) -> None:
    """Including signs."""
    reduction = HouseholderTridiagonal.start(operator, 35, may_restart=False)
    for _ in range(35):
        reduction.step()
    diagonals, offdiagonals = (t.numpy() for t in reduction.tridiagonals())
    for i in range(2):
        _, diagonal, offdiagonal, _, _ = scipy.linalg.lapack.dsytrd(dense(operator, i), lower=1)
        np.testing.assert_allclose(diagonals[i], diagonal, rtol=0, atol=1e-12)
        np.testing.assert_allclose(offdiagonals[i, :-1], offdiagonal, rtol=0, atol=1e-12)


def test_columns_span_krylov_space(operator: NormalisedLaplacian) -> None:
    """And stay orthogonal."""
    reduction = HouseholderTridiagonal.start(operator, 12, may_restart=False)
    for _ in range(12):
        reduction.step()
    Q = torch.stack([reduction.rotate(torch.eye(35, dtype=torch.float64)[[j, j]]) for j in range(35)], dim=2)
    torch.testing.assert_close(Q.transpose(1, 2) @ Q, torch.eye(35, dtype=torch.float64).expand(2, -1, -1))
    diagonals, offdiagonals = (t.numpy() for t in reduction.tridiagonals())
    for i in range(2):
        T = Q[i].numpy().T @ dense(operator, i) @ Q[i].numpy()
        expected = np.diag(diagonals[i]) + np.diag(offdiagonals[i, :-1], 1) + np.diag(offdiagonals[i, :-1], -1)
        np.testing.assert_allclose(T[:12, :12], expected, rtol=0, atol=1e-12)
        assert abs(T[12, 11]) == pytest.approx(abs(offdiagonals[i, -1]), abs=1e-12)


def test_new_block_when_exhausted() -> None:
    # one group of 3 and one of 5 patches: from the first patch only three directions are reached
    features = torch.eye(2)[[0, 0, 0, 1, 1, 1, 1, 1]].T[None, :, None]
    operator = NormalisedLaplacian.of(build_graph(features, tau=0.15, eps=0.1))
    reduction = HouseholderTridiagonal.start(operator, 6, may_restart=True)
    for _ in range(6):
        reduction.step()
    offdiagonals = reduction.tridiagonals()[1].numpy()
    assert offdiagonals[0, 2] == 0
    assert (np.abs(offdiagonals[0, :2]) > 1e-8).all()
