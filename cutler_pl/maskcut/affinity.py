"""The graph that MaskCut cuts: patches are nodes, and two of them are joined when their features look alike.

W is 1 where the cosine similarity exceeds τ and ε elsewhere (CutLER, Eq. 2), so all of it is a 0/1 matrix B:
W = ε + (1 - ε) B. B is computed once per image; the patches of objects already found are blanked by a mask beside
it instead of a second product of features (CutLER, Eq. 3), which leaves the same graph.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

_FLOAT32_BITS = 24


@dataclass(frozen=True)
class PatchGraph:
    """Weights of a batch of patch graphs, never written out except by `weights`.

    Attributes:
        edges: B before blanking: symmetric, 0 or 1.
        kept: False for blanked patches.
        images: Which row of `edges` each graph of the batch uses, so that a selection needs no copy.
        eps: ε, the weight of absent edges.
    """

    edges: Float32[Tensor, "images patches patches"]
    kept: Bool[Tensor, "batch patches"]
    images: tuple[int, ...]
    eps: float

    @property
    def patches(self) -> int:
        """Nodes of each graph."""
        return self.edges.shape[-1]

    def select(self, indices: Sequence[int]) -> "PatchGraph":
        """The graphs at these places of the batch, sharing the edges."""
        return replace(self, kept=self.kept[list(indices)], images=tuple(self.images[i] for i in indices))

    def blank(self, found: Bool[Tensor, "batch patches"]) -> "PatchGraph":
        """The same graphs with more patches blanked."""
        return replace(self, kept=self.kept & ~found)

    def degrees(self) -> Float64[Tensor, "batch patches"]:
        """Number of edges of each patch, itself counted; 0 for blanked patches and for patches without features."""
        kept = self.kept.to(self.edges.dtype)
        return (kept * self._times_edges(kept[:, None])[:, 0]).double()

    def product(self, x: Float64[Tensor, "batch patches"]) -> Float64[Tensor, "batch patches"]:
        """B x with blanked rows and columns, as exact as float64, out of float32 products.

        B x of a float64 vector would need B in float64: twice the memory and twice the time. Instead x is cut into
        fixed-point pieces so short that float32 adds them up without any rounding, whatever the order. The result
        is therefore the same to the last bit on every device.
        """
        kept = self.kept.double()
        pieces, steps = _fixed_point_pieces(x * kept)
        return kept * (self._times_edges(pieces).double() * steps).sum(1)

    def weights(self) -> Float64[Tensor, "batch patches patches"]:
        """W, dense: n² numbers of 8 bytes a graph."""
        edges = torch.stack([self.edges[i] for i in self.images]).double()
        kept = self.kept.double()
        return self.eps + (1 - self.eps) * edges * kept[:, :, None] * kept[:, None, :]

    def _times_edges(self, rows: Float32[Tensor, "batch k patches"]) -> Float32[Tensor, "batch k patches"]:
        with _full_float32():
            if self.images == tuple(range(self.edges.shape[0])):
                return rows @ self.edges
            return torch.stack([row @ self.edges[i] for i, row in zip(self.images, rows, strict=True)])


def build_graph(features: Float[Tensor, "batch dim h w"], *, tau: float, eps: float) -> PatchGraph:
    """Join the patches whose features have a cosine similarity above τ.

    Args:
        features: Patch features of any scale; half precision is raised to float32.
        tau: τ of the paper.
        eps: ε, the weight of absent edges.

    Returns:
        The graphs, row-major patches, none blanked. A patch without features (all zero) has no edge, not even to
        itself.
    """
    if features.dtype != torch.float64:
        features = features.float()
    directions = F.normalize(features.flatten(2), dim=1)
    with _full_float32():
        similarity = directions.transpose(1, 2) @ directions
    edges = similarity.gt_(tau).float()
    batch, patches = edges.shape[:2]
    kept = torch.ones(batch, patches, dtype=torch.bool, device=edges.device)
    return PatchGraph(edges=edges, kept=kept, images=tuple(range(batch)), eps=eps)


def _fixed_point_pieces(
    x: Float64[Tensor, "batch patches"],
) -> tuple[Float32[Tensor, "batch k patches"], Float64[Tensor, "batch k 1"]]:
    """Whole numbers whose sum, each times its power of two, is x up to 2^-52 of its largest entry.

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
        if covered >= 51:
            return torch.stack(pieces, 1), torch.stack(steps, 1)
        rest = rest - piece * step
        # what is left is at most half a step, so that one more bit fits from the second piece on
        step = step * 2.0 ** -(bits + 1)
        covered += bits + 1


@contextmanager
def _full_float32() -> Iterator[None]:
    """Products in true float32: TensorFloat-32 would move edges across τ and break the exactness of the pieces."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
