"""The second smallest generalised eigenvector of (D - W) v = λ D v: the relaxed normalised cut (CutLER, Eq. 1).

It is found as the second eigenvector of C = D^-½ (D - W) D^-½, taken back by D^-½. Its sign matters to MaskCut, so
both solvers give LAPACK's: the largest entry of the eigenvector of C's tridiagonal form is positive. Householder
reflections that start from the first patch make that form; LAPACK carries all of them out, the Lanczos solver here
only as many as the second eigenpair needs (10 to 30 of thousands), with the same form and the same sign.
Shi and Malik, "Normalized Cuts and Image Segmentation", 2000; Golub and Van Loan, "Matrix Computations", ch. 10.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.affinity import PatchGraph
from cutler_pl.maskcut.eigen.ritz import RitzPairs, second_ritz_pairs
from cutler_pl.maskcut.eigen.tridiagonal import HouseholderTridiagonal, NormalisedLaplacian
from cutler_pl.runtime.logging import get_logger

_log = get_logger(__name__)
_ROUNDING = 1e-13
_WEAK_LINK = 1e-4


@dataclass(frozen=True)
class Eigenpairs:
    """Second eigenpairs of a batch of graphs, and how far they can be trusted.

    Attributes:
        vectors: v with vᵀ D v = 1 and LAPACK's sign.
        values: λ₂, the relaxed cost of the cut, 0 for a graph in two pieces.
        gaps: λ₃ - λ₂ as far as the solver has seen; near 0 another vector is as good. Infinite for two patches.
        residuals: ‖C x - λ₂ x‖ of the unit vector x = D^½ v.
        sign_margin: How close the entry that decides the sign comes to another one of opposite sign, in 0..1; NaN
            where the solver does not know.
        products: Products with W that were needed; 0 for a full decomposition.
        fallbacks: True where the solver gave up and the full decomposition was used.
    """

    vectors: Float64[Tensor, "batch patches"]
    values: Float64[Tensor, " batch"]
    gaps: Float64[Tensor, " batch"]
    residuals: Float64[Tensor, " batch"]
    sign_margin: Float64[Tensor, " batch"]
    products: Int64[Tensor, " batch"]
    fallbacks: Bool[Tensor, " batch"]

    def put(self, indices: list[int], other: "Eigenpairs") -> "Eigenpairs":
        """A copy in which the entries at `indices` are those of `other`."""
        return Eigenpairs(
            **{
                f.name: getattr(self, f.name).index_copy(
                    0, torch.tensor(indices, device=self.vectors.device), getattr(other, f.name)
                )
                for f in fields(self)
            }
        )


@runtime_checkable
class EigenSolver(Protocol):
    """Anything that finds the second eigenpairs of a batch of connected or nearly connected graphs."""

    def __call__(self, graph: PatchGraph) -> Eigenpairs:
        """Second eigenpairs of graphs of two patches or more."""
        ...


@dataclass(frozen=True)
class ScipySolver:
    """LAPACK's decomposition in float64 on the CPU, image by image: the reference, slow for thousands of patches."""

    def __call__(self, graph: PatchGraph) -> Eigenpairs:
        """Second eigenpairs of graphs of two patches or more."""
        device = graph.kept.device
        last = min(2, graph.patches - 1)
        vectors, values, gaps, residuals = [], [], [], []
        for i in range(len(graph.images)):
            W = graph.select([i]).weights()[0].cpu().numpy()
            degree = W.sum(1)
            pair, basis = scipy.linalg.eigh(np.diag(degree) - W, np.diag(degree), subset_by_index=[1, last])
            v = basis[:, 0]
            vectors.append(v)
            values.append(pair[0])
            gaps.append(pair[1] - pair[0] if last == 2 else np.inf)
            residuals.append(np.linalg.norm((degree * v - W @ v - pair[0] * degree * v) / np.sqrt(degree)))
        count = len(vectors)
        return Eigenpairs(
            vectors=torch.from_numpy(np.stack(vectors)).to(device),
            values=torch.tensor(values, dtype=torch.float64, device=device),
            gaps=torch.tensor(gaps, dtype=torch.float64, device=device),
            residuals=torch.tensor(residuals, dtype=torch.float64, device=device),
            sign_margin=torch.full((count,), torch.nan, dtype=torch.float64, device=device),
            products=torch.zeros(count, dtype=torch.int64, device=device),
            fallbacks=torch.zeros(count, dtype=torch.bool, device=device),
        )


@dataclass(frozen=True)
class LanczosSolver:
    """Householder-Lanczos from the first patch, batched, in float64, on any device.

    Attributes:
        tolerance: Largest residual relative to the gap between λ₂ and λ₃.
        check_every: Steps between looks at the tridiagonal eigenpairs.
        complete_below: Graphs of at most this many patches are reduced completely, as LAPACK does.
        max_steps: Steps after which the full decomposition takes over.
        reference: That full decomposition.
    """

    tolerance: float = 1e-9
    check_every: int = 4
    complete_below: int = 64
    max_steps: int = 256
    reference: EigenSolver = field(default_factory=ScipySolver)

    def __call__(self, graph: PatchGraph) -> Eigenpairs:
        """Second eigenpairs of graphs of two patches or more."""
        operator = NormalisedLaplacian.of(graph)
        steps = min(self.max_steps, graph.patches)
        reduction = HouseholderTridiagonal.start(operator, steps, may_restart=graph.patches > self.complete_below)
        found = RitzPairs.none(len(graph.images), steps, graph.kept.device)
        while reduction.size < steps and not found.settled.all():
            size = self._next_look(reduction.size, graph.patches, steps)
            while reduction.size < size:
                reduction.step()
            found = self._check_convergence(reduction, graph, found)
        pairs = self._assemble(operator, reduction, found)
        doubtful = pairs.residuals > 10 * (self.tolerance * pairs.gaps + _ROUNDING)
        failed = (doubtful | ~found.settled).nonzero().flatten().tolist()
        if not failed:
            return pairs
        _log.info("no clear second eigenvector in %d of %d graphs: decomposed in full", len(failed), len(graph.images))
        full = self.reference(graph.select(failed))
        return pairs.put(failed, replace(full, fallbacks=torch.ones_like(full.fallbacks)))

    def _next_look(self, size: int, patches: int, steps: int) -> int:
        """Size of T at which its eigenpairs are worth looking at again."""
        return steps if patches <= self.complete_below else min(size + self.check_every, steps)

    def _check_convergence(self, reduction: HouseholderTridiagonal, graph: PatchGraph, found: RitzPairs) -> RitzPairs:
        """Add the graphs whose second eigenpair has settled to `found`."""
        size = reduction.size
        diagonals, offdiagonals = reduction.tridiagonals()
        if size < min(3, graph.patches):
            return found
        pairs = second_ritz_pairs(diagonals, offdiagonals[:, :-1], kernels=graph.kernels)
        if size == graph.patches:
            return found.add(pairs, torch.ones_like(found.settled))
        last = pairs.vectors[:, size - 1]
        settled = (offdiagonals[:, -1] * last).abs() < self.tolerance * pairs.gaps
        # a graph has parts that the first patch hardly sees: has half of the steps found the same?
        weak = offdiagonals.abs().amin(1) < _WEAK_LINK
        half = size // 2
        if half < 2:
            settled = settled & ~weak
        elif weak.any():
            before = second_ritz_pairs(diagonals[:, :half], offdiagonals[:, : half - 1], kernels=graph.kernels)
            settled = settled & (~weak | ((before.values - pairs.values).abs() < _ROUNDING))
        return found.add(pairs, settled)

    def _assemble(
        self, operator: NormalisedLaplacian, reduction: HouseholderTridiagonal, found: RitzPairs
    ) -> Eigenpairs:
        x = reduction.rotate(F.pad(found.vectors, (0, operator.graph.patches - found.vectors.shape[1])))
        return Eigenpairs(
            vectors=operator.root_inverse * x,
            values=found.values,
            gaps=found.gaps,
            residuals=torch.linalg.vector_norm(operator(x) - found.values[:, None] * x, dim=1),
            sign_margin=found.sign_margin,
            products=found.sizes + 1,
            fallbacks=torch.zeros_like(found.settled),
        )


@dataclass(frozen=True)
class AutoSolver:
    """The full decomposition where it is quick anyway, Lanczos above."""

    full_below: int = 128
    full: EigenSolver = field(default_factory=ScipySolver)
    iterative: EigenSolver = field(default_factory=LanczosSolver)

    def __call__(self, graph: PatchGraph) -> Eigenpairs:
        """Second eigenpairs of graphs of two patches or more."""
        return (self.full if graph.patches <= self.full_below else self.iterative)(graph)


SOLVERS: Mapping[str, EigenSolver] = MappingProxyType(
    {"auto": AutoSolver(), "lanczos": LanczosSolver(), "scipy": ScipySolver()}
)


def find_solver(solver: str | EigenSolver) -> EigenSolver:
    """A solver by its registered name; anything else is taken for a solver.

    Raises:
        ConfigError: No solver has this name.
    """
    if not isinstance(solver, str):
        return solver
    if solver not in SOLVERS:
        raise ConfigError(f"maskcut solver {solver!r} is unknown; choose from {', '.join(sorted(SOLVERS))}")
    return SOLVERS[solver]
