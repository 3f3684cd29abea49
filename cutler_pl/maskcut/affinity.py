"""The graph that MaskCut cuts: patches are nodes, and an edge joins two of them with similar features.

W is 1 where the cosine similarity exceeds τ and ε elsewhere (CutLER, Eq. 2): W = ε + (1 - ε) B with a 0/1 matrix B.
B is computed once per image; patches of objects already found are masked out instead of computing similarities again
(CutLER, Eq. 3), which gives the same graph.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64
from torch import Tensor

from cutler_pl.runtime.cuda_kernels import Kernels, kernels_for

SOURCE = Path(__file__).parent / "cuda" / "graph.cu"

_FLOAT32_BITS = 24
_WORD_BITS = 32
_PARTS = 8
_DOUBTFUL_PAIRS = 4


@runtime_checkable
class Edges(Protocol):
    """The matrices B of a batch of images: symmetric, 0 or 1."""

    @property
    def patches(self) -> int:
        """Rows of each matrix."""

    @property
    def kernels(self) -> Kernels | None:
        """The kernels of `SOURCE` for the device of the matrices; None where there are none."""

    def matvec(
        self, x: Float64[Tensor, "batch patches"], images: Int64[Tensor, " batch"]
    ) -> Float64[Tensor, "batch patches"]:
        """B x, each row of x with the matrix of its image, as exact as float64."""

    def dense(self, image: int) -> Float32[Tensor, "patches patches"]:
        """One matrix as a dense tensor."""


@dataclass(frozen=True)
class DenseEdges:
    """B in float32, multiplied by torch: for CPUs, and for devices without kernels."""

    matrices: Float32[Tensor, "images patches patches"]
    kernels: None = None

    @property
    def patches(self) -> int:
        """Rows of each matrix."""
        return self.matrices.shape[-1]

    def matvec(
        self, x: Float64[Tensor, "batch patches"], images: Int64[Tensor, " batch"]
    ) -> Float64[Tensor, "batch patches"]:
        """B x from fixed-point pieces of x, summed in float32 without rounding, at half the cost of float64."""
        pieces, steps = _fixed_point_pieces(x)
        with full_float32():
            if images.tolist() == list(range(len(self.matrices))):
                products = pieces @ self.matrices
            else:
                products = torch.stack([p @ self.matrices[i] for i, p in zip(images.tolist(), pieces, strict=True)])
        return (products.double() * steps).sum(1)

    def dense(self, image: int) -> Float32[Tensor, "patches patches"]:
        """One matrix as a dense tensor."""
        return self.matrices[image]


@dataclass(frozen=True)
class PackedEdges:
    """B as bits, 1.6 MB for 60 × 60 patches instead of 52, multiplied by a kernel in float64."""

    bits: Int32[Tensor, "images words patches"]
    kernels: Kernels

    @classmethod
    def of(cls, directions: Float64[Tensor, "images dim patches"], *, tau: float, kernels: Kernels) -> "PackedEdges":
        """Edges where the similarity exceeds τ."""
        images, dim, patches = directions.shape
        words = -(-patches // _WORD_BITS)
        bits = torch.empty(images, words, patches, dtype=torch.int32, device=directions.device)
        sizes = (patches, words, dim, float(tau), _rounding_of_cosines(dim))
        kernels("pack_edges", bits.numel(), _cosines(directions), directions, bits, *sizes)
        return cls(bits, kernels)

    @property
    def patches(self) -> int:
        """Rows of each matrix."""
        return self.bits.shape[-1]

    def matvec(
        self, x: Float64[Tensor, "batch patches"], images: Int64[Tensor, " batch"]
    ) -> Float64[Tensor, "batch patches"]:
        """B x, summed in float64 in a fixed order."""
        return self.partial_products(F.pad(x, (0, self.padded - self.patches)).contiguous(), images).sum(1)

    @property
    def padded(self) -> int:
        """Patches, rounded up to whole words."""
        return self.bits.shape[1] * _WORD_BITS

    def partial_products(
        self, x: Float64[Tensor, "batch padded"], images: Int64[Tensor, " batch"]
    ) -> Float64[Tensor, "batch parts patches"]:
        """B x in parts to be added up; x has zeros after the patches."""
        partial = x.new_empty(len(x), _PARTS, self.patches)
        sizes = (self.patches, self.bits.shape[1], _PARTS)
        self.kernels("packed_matvec", partial.numel(), self.bits, images, x, partial, *sizes)
        return partial

    def dense(self, image: int) -> Float32[Tensor, "patches patches"]:
        """One matrix as a dense tensor."""
        shifts = torch.arange(_WORD_BITS, dtype=torch.int32, device=self.bits.device)
        rows = (self.bits[image][:, None] >> shifts[:, None]) & 1
        return rows.flatten(0, 1)[: self.patches].float()


@dataclass(frozen=True)
class PatchGraph:
    """Weights of a batch of patch graphs; only `weights` makes them dense.

    Attributes:
        edges: B before blanking.
        active: False for blanked patches.
        images: Index into `edges` of each graph, so that a selection needs no copy.
        eps: ε, the weight of absent edges.
    """

    edges: Edges
    active: Bool[Tensor, "batch patches"]
    images: tuple[int, ...]
    eps: float

    @property
    def patches(self) -> int:
        """Nodes of each graph."""
        return self.edges.patches

    @property
    def kernels(self) -> Kernels | None:
        """The kernels of `SOURCE` for the graphs' device; None where there are none."""
        return self.edges.kernels

    @cached_property
    def image_index(self) -> Int64[Tensor, " batch"]:
        """`images` on the graphs' device."""
        return torch.tensor(self.images, dtype=torch.int64, device=self.active.device)

    def select(self, indices: Sequence[int]) -> "PatchGraph":
        """The graphs at these indices of the batch, sharing the edges."""
        return replace(self, active=self.active[list(indices)], images=tuple(self.images[i] for i in indices))

    def blank(self, found: Bool[Tensor, "batch patches"]) -> "PatchGraph":
        """The same graphs with more patches blanked."""
        return replace(self, active=self.active & ~found)

    def degrees(self) -> Float64[Tensor, "batch patches"]:
        """Number of edges of each patch, including itself; 0 for blanked patches and for patches without features."""
        return self.matvec(self.active.double())

    def matvec(self, x: Float64[Tensor, "batch patches"]) -> Float64[Tensor, "batch patches"]:
        """B x with blanked rows and columns, in float64 accuracy."""
        active = self.active.double()
        return active * self.edges.matvec(x * active, self.image_index)

    def weights(self) -> Float64[Tensor, "batch patches patches"]:
        """W, dense: n² numbers of 8 bytes per graph."""
        edges = torch.stack([self.edges.dense(i) for i in self.images]).double()
        active = self.active.double()
        return self.eps + (1 - self.eps) * edges * active[:, :, None] * active[:, None, :]


def build_graph(
    features: Float[Tensor, "batch dim h w"], *, tau: float, eps: float, kernels: Kernels | None = None
) -> PatchGraph:
    """Connect the patches whose features have a cosine similarity above τ.

    Each similarity is compared with τ as in float64, so that every device builds the same graph.

    Args:
        features: Patch features of any scale and precision.
        tau: τ of the paper.
        eps: ε, the weight of absent edges.
        kernels: The kernels of `SOURCE`; those of the features' device where not given.

    Returns:
        The graphs, row-major patches, none blanked; a patch of zeros has no edge, not even to itself.
    """
    directions = F.normalize(features.flatten(2).double(), dim=1).contiguous()
    batch, _, patches = directions.shape
    kernels = kernels or kernels_for(SOURCE, features.device)
    edges: Edges
    if kernels is None:
        edges = DenseEdges(_similarity(directions, tau).gt_(tau).float())
    else:
        edges = PackedEdges.of(directions, tau=tau, kernels=kernels)
    active = torch.ones(batch, patches, dtype=torch.bool, device=features.device)
    return PatchGraph(edges=edges, active=active, images=tuple(range(batch)), eps=eps)


def _similarity(
    directions: Float64[Tensor, "batch dim patches"], tau: float
) -> Float32[Tensor, "batch patches patches"]:
    """Cosine similarities on the right side of τ.

    A float32 product depends on the order of summation, and a mask may hang on a single edge. The pairs that float32
    leaves in doubt, one in ten thousand or fewer, are computed again in float64 and set to ±1.
    """
    similarity = _cosines(directions)
    error = _rounding_of_cosines(directions.shape[1])
    for cosines, columns in zip(similarity, directions, strict=True):
        i, j = _places((cosines > tau - error) & (cosines < tau + error))
        rows = columns.T
        few = len(i) <= _DOUBTFUL_PAIRS * len(rows)
        exact = (rows[i] * rows[j]).sum(1) if few else (rows @ columns)[i, j]
        cosines[i, j] = torch.where(exact > tau, 1.0, -1.0)
    return similarity


def _cosines(directions: Float64[Tensor, "batch dim patches"]) -> Float32[Tensor, "batch patches patches"]:
    single = directions.float()
    with full_float32():
        return single.transpose(1, 2) @ single


def _rounding_of_cosines(dim: int) -> float:
    """Bound of the error: a sum of `dim` float32 products in any order, rounded factors, and a rounded τ."""
    return (dim + 4) * 2.0**-_FLOAT32_BITS


def _places(chosen: Bool[Tensor, "patches patches"]) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]:
    """Rows and columns of the true entries, of which there are few: on the CPU NumPy finds them eight times as fast."""
    if chosen.device.type != "cpu":
        i, j = chosen.nonzero(as_tuple=True)
        return i, j
    flat = torch.from_numpy(np.flatnonzero(chosen.numpy()))
    return flat // len(chosen), flat % len(chosen)


def _fixed_point_pieces(
    x: Float64[Tensor, "batch patches"],
) -> tuple[Float32[Tensor, "batch k patches"], Float64[Tensor, "batch k 1"]]:
    """Integers whose sum, each times its power of two, is x up to 2^-52 of its largest entry.

    Each piece is small enough for a sum over all patches to fit in the mantissa of float32.
    """
    bits = _FLOAT32_BITS - (x.shape[1] - 1).bit_length()
    exponent = torch.frexp(x.abs().amax(1, keepdim=True)).exponent
    step = torch.ldexp(torch.ones_like(x[:, :1]), exponent - bits)
    pieces, steps, covered = [], [], bits
    rest = x
    while True:
        piece = torch.round(rest / step)
        pieces.append(piece.float())
        steps.append(step)
        rest = rest - piece * step
        if covered >= 51 or not rest.any():
            return torch.stack(pieces, 1), torch.stack(steps, 1)
        # the rest is at most half a step, so one more bit fits from the second piece on
        step = step * 2.0 ** -(bits + 1)
        covered += bits + 1


@contextmanager
def full_float32() -> Iterator[None]:
    """Products in true float32: TensorFloat-32 would move edges across τ and make the pieces inexact."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
