"""Second eigenpairs of the small tridiagonal matrices that the Lanczos solver makes: on the host, or on the device.

LAPACK's sign: the largest entry of the tridiagonal matrix's eigenvector is positive (see `ncut`). A kernel does the
clear ones where they are; what it cannot decide, several equal eigenvalues or a matrix in blocks, goes to the host.
"""

from dataclasses import dataclass, fields

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from cutler_pl.runtime.kernels import Kernels

_ROUNDING = 1e-13
_CLEAR_GAP = 1e-11


@dataclass(frozen=True)
class RitzPairs:
    """Second eigenpairs of a batch of tridiagonal matrices, filled up with zeros where matrices are smaller.

    Attributes:
        vectors: Unit length, largest entry positive.
        values: Second smallest eigenvalues.
        gaps: Distance to the third; infinite for two rows.
        sign_margin: How close the largest entry of opposite sign comes to the one that decides the sign, in 0..1.
        sizes: Rows of each matrix.
        settled: Whether this pair is one to be trusted, as the caller says.
    """

    vectors: Float64[Tensor, "batch capacity"]
    values: Float64[Tensor, " batch"]
    gaps: Float64[Tensor, " batch"]
    sign_margin: Float64[Tensor, " batch"]
    sizes: Int64[Tensor, " batch"]
    settled: Bool[Tensor, " batch"]

    @classmethod
    def none(cls, batch: int, capacity: int, device: torch.device) -> "RitzPairs":
        """Nothing settled yet."""
        zeros = torch.zeros(batch, dtype=torch.float64, device=device)
        return cls(
            vectors=torch.zeros(batch, capacity, dtype=torch.float64, device=device),
            values=zeros,
            gaps=zeros,
            sign_margin=zeros,
            sizes=torch.zeros_like(zeros, dtype=torch.int64),
            settled=torch.zeros_like(zeros, dtype=torch.bool),
        )

    def add(self, other: "RitzPairs", settled: Bool[Tensor, " batch"]) -> "RitzPairs":
        """A copy that takes over the pairs that have settled now and had not before."""
        new = settled & ~self.settled
        vectors = torch.zeros_like(self.vectors)
        vectors[:, : other.vectors.shape[1]] = other.vectors
        taken = {
            f.name: torch.where(new, getattr(other, f.name), getattr(self, f.name))
            for f in fields(self)
            if f.name not in ("vectors", "settled")
        }
        return RitzPairs(
            vectors=torch.where(new[:, None], vectors, self.vectors), settled=self.settled | settled, **taken
        )


def second_ritz_pairs(
    diagonals: Float64[Tensor, "batch k"], offdiagonals: Float64[Tensor, "batch k-1"], *, kernels: Kernels | None
) -> RitzPairs:
    """Second smallest eigenvalues of symmetric tridiagonal matrices, and their vectors.

    Args:
        diagonals: Of two rows or more.
        offdiagonals: An entry of exactly 0 ends a block.
        kernels: The kernels of `affinity.SOURCE` for the matrices' device; None computes on the host.

    Returns:
        The pairs, none marked as settled.
    """
    batch, size = diagonals.shape
    if kernels is None:
        return _on_the_host(diagonals, offdiagonals)
    vectors = diagonals.new_empty(batch, size)
    numbers = diagonals.new_empty(batch, 3)
    scratch = diagonals.new_empty(batch, 3, size)
    padded = torch.nn.functional.pad(offdiagonals, (0, 1)).contiguous()
    kernels("second_eigenpair", batch, diagonals.contiguous(), padded, vectors, numbers, scratch, size, size)
    values, gaps, ties = numbers.unbind(1)
    hard = ((gaps < _CLEAR_GAP) | (offdiagonals == 0).any(1)).nonzero().flatten()
    pairs = _pairs(vectors, values, gaps, ties)
    if not len(hard):
        return pairs
    exact = _on_the_host(diagonals[hard], offdiagonals[hard])
    return RitzPairs(
        **{f.name: getattr(pairs, f.name).index_copy(0, hard, getattr(exact, f.name)) for f in fields(pairs)}
    )


def _pairs(vectors: Tensor, values: Tensor, gaps: Tensor, ties: Tensor) -> RitzPairs:
    sizes = torch.full_like(values, vectors.shape[1], dtype=torch.int64)
    return RitzPairs(vectors, values, gaps, ties, sizes, torch.zeros_like(values, dtype=torch.bool))


def _on_the_host(diagonals: Float64[Tensor, "batch k"], offdiagonals: Float64[Tensor, "batch k-1"]) -> RitzPairs:
    rows = zip(diagonals.cpu().numpy(), offdiagonals.cpu().numpy(), strict=True)
    found = [_second_pair(diagonal, offdiagonal) for diagonal, offdiagonal in rows]
    vectors = torch.from_numpy(np.stack([vector for vector, _ in found])).to(diagonals.device)
    numbers = torch.tensor([n for _, n in found], dtype=torch.float64, device=diagonals.device)
    return _pairs(vectors, *numbers.unbind(1))


def _second_pair(
    diagonal: Float64[np.ndarray, " k"], offdiagonal: Float64[np.ndarray, " k-1"]
) -> tuple[Float64[np.ndarray, " k"], tuple[float, float, float]]:
    """Vector, and value, gap and tie ratio.

    Among equal eigenvalues the vector that the first block sees most of is taken.
    """
    values, vectors = scipy.linalg.eigh_tridiagonal(diagonal, offdiagonal)
    first_block = int(np.append(np.flatnonzero(offdiagonal == 0) + 1, len(diagonal))[0])
    equal = 1 + np.flatnonzero(values[1:] - values[1] < _ROUNDING)
    chosen = equal[np.linalg.norm(vectors[:first_block, equal], axis=0).argmax()]
    y = vectors[:, chosen] * np.sign(vectors[np.abs(vectors[:, chosen]).argmax(), chosen])
    gap = float(values[2] - values[1]) if len(values) > 2 else np.inf
    return y, (float(values[chosen]), gap, float(max(-y.min(), 0.0) / y.max()))
