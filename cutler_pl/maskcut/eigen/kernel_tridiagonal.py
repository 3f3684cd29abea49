"""The reduction of `tridiagonal` by CUDA kernels: twelve launches a step instead of some sixty operations of torch."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float64
from torch import Tensor

from cutler_pl.maskcut.affinity import PackedEdges
from cutler_pl.maskcut.eigen.tridiagonal import BREAKDOWN, NormalisedLaplacian, restart_vector

_PARTS = 32
"""Partial sums of a sum over patches."""


@dataclass
class KernelTridiagonal:
    """As `HouseholderTridiagonal`, for graphs whose edges are bits; V is stored by columns."""

    operator: NormalisedLaplacian
    edges: PackedEdges
    breakdown: float
    V: Float64[Tensor, "batch capacity patches"]
    S: Float64[Tensor, "batch capacity capacity"]
    diagonal: Float64[Tensor, "batch capacity"]
    offdiagonal: Float64[Tensor, "batch capacity"]
    size: int = 0

    @classmethod
    def start(
        cls, operator: NormalisedLaplacian, edges: PackedEdges, capacity: int, *, may_restart: bool
    ) -> "KernelTridiagonal":
        """No column yet, and memory for `capacity` of them."""
        batch, patches = operator.root_inverse.shape
        empty = operator.root_inverse.new_empty
        return cls(
            operator,
            edges,
            BREAKDOWN if may_restart else 0.0,
            V=empty(batch, capacity, patches),
            S=empty(batch, capacity, capacity),
            diagonal=empty(batch, capacity),
            offdiagonal=empty(batch, capacity),
        )

    def rotate(self, y: Float64[Tensor, "batch patches"]) -> Float64[Tensor, "batch patches"]:
        """Q y."""
        V, S = self.V[:, : self.size], self.S[:, : self.size, : self.size].triu()
        return y - (V.transpose(1, 2) @ (S @ (V @ y[:, :, None])))[:, :, 0]

    def step(self) -> None:
        """One product with C: the next column of T, and the reflection that the column after it needs."""
        j, kernels, graph = self.size, self.edges.kernels, self.operator.graph
        root_inverse, active, V, S = self.operator.root_inverse, graph.active, self.V, self.S
        batch, capacity, patches = V.shape
        x, z, column, v = root_inverse.new_empty(4, batch, patches).unbind()
        coefficients = root_inverse.new_empty(batch, capacity)
        dots = root_inverse.new_empty(batch, max(j, 1), _PARTS)
        norms = root_inverse.new_empty(2, batch, _PARTS).unbind()
        scaled = root_inverse.new_empty(batch, self.edges.padded)
        if j:
            kernels("krylov_unit_coefficients", batch * j, V, S, coefficients, patches, capacity, j)
        unit = (V, coefficients, root_inverse, active, x, scaled)
        kernels("krylov_unit", scaled.numel(), *unit, patches, self.edges.padded, capacity, j)
        partial = self.edges.partial_products(scaled, graph.image_index)
        kernels("krylov_dots", norms[0].numel(), root_inverse, x, norms[0], patches, 1, 1, _PARTS)
        product = (x, partial, norms[0], root_inverse, active, z, patches, partial.shape[1], _PARTS, graph.eps)
        kernels("krylov_operator", z.numel(), *product)
        if j:
            kernels("krylov_dots", dots.numel(), V, z, dots, patches, capacity, j, _PARTS)
            kernels("krylov_back_coefficients", batch * j, S, dots, coefficients, capacity, _PARTS, j)
        kernels("krylov_column", z.numel(), V, coefficients, z, column, patches, capacity, j)
        kernels("krylov_squares", norms[1].numel(), column, norms[1], patches, _PARTS, j + 2)
        restart = _restart(patches, root_inverse.device)
        outputs = (V, S, v, self.diagonal, self.offdiagonal)
        sizes = (patches, capacity, _PARTS, j, self.breakdown)
        kernels("krylov_reflection", v.numel(), column, norms[1], *restart, *outputs, *sizes)
        if j:
            kernels("krylov_dots", dots.numel(), V, v, dots, patches, capacity, j, _PARTS)
            kernels("krylov_extend", batch * j, S, dots, capacity, _PARTS, j)
        self.size += 1

    def tridiagonals(self) -> tuple[Float64[Tensor, "batch k"], Float64[Tensor, "batch k"]]:
        """Diagonal and subdiagonal of T; the last entry of the subdiagonal belongs to the column still to come."""
        return self.diagonal[:, : self.size], self.offdiagonal[:, : self.size]


@lru_cache(maxsize=4)
def _restart(patches: int, device: torch.device) -> tuple[Float64[Tensor, " patches"], Float64[Tensor, " patches+2"]]:
    """The vector of a restart, and the norm of its entries from each place on."""
    vector = restart_vector(patches)
    norms = vector.square().flip(0).cumsum(0).flip(0).sqrt()
    return vector.to(device), torch.cat([norms, norms.new_zeros(2)]).to(device)
