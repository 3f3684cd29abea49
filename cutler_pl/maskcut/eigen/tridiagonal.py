"""Stepwise reduction of normalised graph Laplacians to tridiagonal form, for the Lanczos solver.

The reflections are LAPACK's, in LAPACK's order, so that the form is LAPACK's including signs; but they are computed
from products with the graph, and the reduction may stop after any of them.
Golub and Van Loan, "Matrix Computations", ch. 5.1 and 10.1; Schreiber and Van Loan, 1989, for the compact product.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from cutler_pl.maskcut.affinity import PatchGraph

BREAKDOWN = 1e-12
"""A shorter rest of a column ends a block of the tridiagonal form."""


@dataclass(frozen=True)
class NormalisedLaplacian:
    """C = I - D^-½ W D^-½ of each graph of a batch, as a linear operator."""

    graph: PatchGraph
    root_inverse: Float64[Tensor, "batch patches"]

    @classmethod
    def of(cls, graph: PatchGraph) -> "NormalisedLaplacian":
        """The operator of these graphs: one product for the degrees."""
        degree = graph.patches * graph.eps + (1 - graph.eps) * graph.degrees()
        return cls(graph, degree.rsqrt())

    def __call__(self, x: Float64[Tensor, "batch patches"]) -> Float64[Tensor, "batch patches"]:
        """C x."""
        scaled = self.root_inverse * x
        eps = self.graph.eps
        weighted = eps * scaled.sum(1, keepdim=True) + (1 - eps) * self.graph.matvec(scaled)
        return x - self.root_inverse * weighted


@dataclass
class HouseholderTridiagonal:
    """The first columns of Qᵀ C Q = T, tridiagonal, with Q = H₀ H₁ … a product of reflections, as LAPACK's dsytrd.

    Q is stored as I - V S Vᵀ (the compact WY form), so that a step costs a few products with thin matrices instead of
    one pass per earlier reflection. Column j of Q is known once H₀ … H_{j-1} are.

    When the Krylov space of the first patch is exhausted (in a graph without noise, for example), the next column
    starts from `restart`, a vector without any symmetry: T then has blocks, separated by a subdiagonal entry of
    exactly 0. LAPACK continues from its rounding errors there, which need not reach all the rest; for a complete
    reduction they suffice.
    """

    operator: NormalisedLaplacian
    may_restart: bool
    restart: Float64[Tensor, " patches"]
    V: Float64[Tensor, "batch patches capacity"]
    S: Float64[Tensor, "batch capacity capacity"]
    diagonal: list[Float64[Tensor, " batch"]]
    offdiagonal: list[Float64[Tensor, " batch"]]

    @classmethod
    def start(cls, operator: NormalisedLaplacian, capacity: int, *, may_restart: bool) -> "HouseholderTridiagonal":
        """No column yet, and memory for `capacity` of them."""
        batch, patches = operator.root_inverse.shape
        zeros = operator.root_inverse.new_zeros
        restart = restart_vector(patches).to(operator.root_inverse.device)
        return cls(
            operator, may_restart, restart, zeros(batch, patches, capacity), zeros(batch, capacity, capacity), [], []
        )

    @property
    def size(self) -> int:
        """Columns of T so far."""
        return len(self.diagonal)

    @property
    def capacity(self) -> int:
        """Columns that fit."""
        return self.V.shape[2]

    def rotate(self, y: Float64[Tensor, "batch patches"]) -> Float64[Tensor, "batch patches"]:
        """Q y."""
        j = self.size
        V, S = self.V[:, :, :j], self.S[:, :j, :j]
        return y - (V @ (S @ (V.transpose(1, 2) @ y[:, :, None])))[:, :, 0]

    def _rotate_back(self, x: Float64[Tensor, "batch patches"]) -> Float64[Tensor, "batch patches"]:
        """Qᵀ x."""
        j = self.size
        V, S = self.V[:, :, :j], self.S[:, :j, :j]
        return x - (V @ (S.transpose(1, 2) @ (V.transpose(1, 2) @ x[:, :, None])))[:, :, 0]

    def step(self) -> None:
        """One product with C: the next column of T, and the reflection that the column after it needs."""
        j = self.size
        unit = torch.zeros_like(self.operator.root_inverse)
        unit[:, j] = 1
        column = self._rotate_back(self.operator(self.rotate(unit)))
        x = column[:, j + 1 :]
        broken = (torch.linalg.vector_norm(x, dim=1) < BREAKDOWN) & self.may_restart
        v, scale, below = _reflection(torch.where(broken[:, None], self.restart[j + 1 :], x))
        self.V[:, j + 1 :, j] = v
        V = self.V[:, :, :j]
        overlap = V.transpose(1, 2) @ self.V[:, :, j, None]
        self.S[:, :j, j] = -scale[:, None] * (self.S[:, :j, :j] @ overlap)[:, :, 0]
        self.S[:, j, j] = scale
        self.diagonal.append(column[:, j])
        self.offdiagonal.append(torch.where(broken, torch.zeros_like(below), below))

    def tridiagonals(self) -> tuple[Float64[Tensor, "batch k"], Float64[Tensor, "batch k"]]:
        """Diagonal and subdiagonal of T; the last entry of the subdiagonal belongs to the column still to come."""
        return torch.stack(self.diagonal, 1), torch.stack(self.offdiagonal, 1)


def restart_vector(patches: int) -> Float64[Tensor, " patches"]:
    """A vector without any symmetry, the same in every run."""
    fixed = torch.Generator().manual_seed(patches)
    return torch.randn(patches, dtype=torch.float64, generator=fixed)


def _reflection(
    x: Float64[Tensor, "batch n"],
) -> tuple[Float64[Tensor, "batch n"], Float64[Tensor, " batch"], Float64[Tensor, " batch"]]:
    """The reflection I - scale v vᵀ with v[0] = 1 that takes x to (beta, 0, …), by LAPACK's dlarfg.

    Returns:
        v, scale and beta. Where x is that multiple already (or empty), scale is 0.
    """
    if x.shape[1] == 0:
        zeros = x.new_zeros(x.shape[0])
        return x, zeros, zeros
    first, rest = x[:, 0], torch.linalg.vector_norm(x[:, 1:], dim=1)
    reduced = rest == 0
    beta = torch.where(reduced, first, -torch.copysign(torch.hypot(first, rest), first))
    denominator = torch.where(reduced, torch.ones_like(first), first - beta)
    divisor = torch.where(reduced, torch.ones_like(beta), beta)
    scale = torch.where(reduced, torch.zeros_like(first), (beta - first) / divisor)
    v = x / denominator[:, None]
    v[:, 0] = 1
    return v, scale, beta
