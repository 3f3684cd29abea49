"""Second eigenpairs of the small tridiagonal matrices of the Lanczos solver, on the host or on the device.

LAPACK's sign: the largest entry of the tridiagonal matrix's eigenvector is positive (see `ncut`). On a GPU a kernel
solves the clear cases; near-equal eigenvalues and matrices in blocks are solved on the host.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float64
from torch import Tensor

from cutler_pl.runtime.cuda_kernels import Kernels

_ROUNDING = 1e-13
_CLEAR_GAP = 1e-11


@dataclass(frozen=True)
class RitzPairs:
    """Second eigenpairs of a batch of tridiagonal matrices, zero-padded to the largest.

    Attributes:
        vectors: Unit length, largest entry positive.
        values: Second smallest eigenvalues.
        gaps: Distance to the third; infinite for two rows.
    """

    vectors: Float64[Tensor, "batch capacity"]
    values: Float64[Tensor, " batch"]
    gaps: Float64[Tensor, " batch"]

    @classmethod
    def empty(cls, batch: int, capacity: int, device: torch.device) -> "RitzPairs":
        """No pair computed yet: zeros."""
        zeros = torch.zeros(batch, dtype=torch.float64, device=device)
        return cls(zeros.new_zeros(batch, capacity), zeros, zeros)

    def replace(self, where: Bool[Tensor, " batch"], other: "RitzPairs") -> "RitzPairs":
        """A copy that takes the pairs of `other` at some places of the batch."""
        padded = F.pad(other.vectors, (0, self.vectors.shape[1] - other.vectors.shape[1]))
        return RitzPairs(
            vectors=torch.where(where[:, None], padded, self.vectors),
            values=torch.where(where, other.values, self.values),
            gaps=torch.where(where, other.gaps, self.gaps),
        )


def second_ritz_pairs(
    diagonals: Float64[Tensor, "batch k"], offdiagonals: Float64[Tensor, "batch k-1"], *, kernels: Kernels | None
) -> RitzPairs:
    """Second smallest eigenvalues and eigenvectors of symmetric tridiagonal matrices.

    Args:
        diagonals: Of two rows or more.
        offdiagonals: An entry of exactly 0 ends a block.
        kernels: The kernels of `affinity.SOURCE` for the matrices' device; None computes on the host.
    """
    batch, size = diagonals.shape
    if kernels is None:
        return _on_host(diagonals, offdiagonals)
    vectors = diagonals.new_empty(batch, size)
    numbers = diagonals.new_empty(batch, 2)
    scratch = diagonals.new_empty(batch, 3, size)
    padded = F.pad(offdiagonals, (0, 1)).contiguous()
    kernels("second_eigenpair", batch, diagonals.contiguous(), padded, vectors, numbers, scratch, size, size)
    values, gaps = numbers.unbind(1)
    hard = ((gaps < _CLEAR_GAP) | (offdiagonals == 0).any(1)).nonzero().flatten()
    if not len(hard):
        return RitzPairs(vectors, values, gaps)
    exact = _on_host(diagonals[hard], offdiagonals[hard])
    return RitzPairs(
        vectors=vectors.index_copy(0, hard, exact.vectors),
        values=values.index_copy(0, hard, exact.values),
        gaps=gaps.index_copy(0, hard, exact.gaps),
    )


def _on_host(diagonals: Float64[Tensor, "batch k"], offdiagonals: Float64[Tensor, "batch k-1"]) -> RitzPairs:
    rows = zip(diagonals.cpu().numpy(), offdiagonals.cpu().numpy(), strict=True)
    pairs = [_second_pair(diagonal, offdiagonal) for diagonal, offdiagonal in rows]
    vectors = torch.from_numpy(np.stack([vector for vector, _, _ in pairs])).to(diagonals.device)
    numbers = torch.tensor([rest for _, *rest in pairs], dtype=torch.float64, device=diagonals.device)
    return RitzPairs(vectors, *numbers.unbind(1))


def _second_pair(
    diagonal: Float64[np.ndarray, " k"], offdiagonal: Float64[np.ndarray, " k-1"]
) -> tuple[Float64[np.ndarray, " k"], float, float]:
    """Vector, value and gap; among equal eigenvalues, the vector with the largest norm in the first block."""
    values, vectors = scipy.linalg.eigh_tridiagonal(diagonal, offdiagonal)
    first_block = int(np.append(np.flatnonzero(offdiagonal == 0) + 1, len(diagonal))[0])
    equal = 1 + np.flatnonzero(values[1:] - values[1] < _ROUNDING)
    chosen = equal[np.linalg.norm(vectors[:first_block, equal], axis=0).argmax()]
    y = vectors[:, chosen] * np.sign(vectors[np.abs(vectors[:, chosen]).argmax(), chosen])
    return y, float(values[chosen]), float(values[2] - values[1]) if len(values) > 2 else np.inf
