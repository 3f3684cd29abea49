"""The second smallest generalised eigenvector of (D - W) v = λ D v: the relaxed normalised cut (CutLER, Eq. 1).

It is the second eigenvector of C = D^-½ (D - W) D^-½, multiplied by D^-½. MaskCut depends on its sign, so both solvers
reproduce LAPACK's: the largest entry of the eigenvector of C's tridiagonal form is positive. That form comes from
Householder reflections started at the first patch; LAPACK applies all of them, the Lanczos solver here only as many as
the second eigenpair needs (10 to 30 of thousands), with the same form and the same sign.
Shi and Malik, "Normalized Cuts and Image Segmentation", 2000; Golub and Van Loan, "Matrix Computations", ch. 10.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float64
from torch import Tensor

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.affinity import PackedEdges, PatchGraph
from cutler_pl.maskcut.eigen.kernel_tridiagonal import KernelTridiagonal
from cutler_pl.maskcut.eigen.ritz import RitzPairs, second_ritz_pairs
from cutler_pl.maskcut.eigen.tridiagonal import HouseholderTridiagonal, NormalisedLaplacian
from cutler_pl.runtime.logging import get_logger

_log = get_logger(__name__)
_ROUNDING = 1e-13
_WEAK_LINK = 1e-4
_MIN_STEPS = 3
_FIRST_CHECK = 8


@dataclass(frozen=True)
class Eigenpairs:
    """Second eigenpairs of a batch of graphs.

    Attributes:
        vectors: v with vᵀ D v = 1 and LAPACK's sign.
        values: λ₂, the relaxed cost of the cut, 0 for a graph of two components.
    """

    vectors: Float64[Tensor, "batch patches"]
    values: Float64[Tensor, " batch"]


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
        device = graph.active.device
        last = min(2, graph.patches - 1)  # the third pair, as the original asks for: it settles the choice among equals
        vectors, values = [], []
        for i in range(len(graph.images)):
            W = graph.select([i]).weights()[0].cpu().numpy()
            D = np.diag(W.sum(1))
            value, vector = scipy.linalg.eigh(D - W, D, subset_by_index=[1, last])
            vectors.append(vector[:, 0])
            values.append(value[0])
        return Eigenpairs(
            vectors=torch.from_numpy(np.stack(vectors)).to(device),
            values=torch.tensor(values, dtype=torch.float64, device=device),
        )


@dataclass(frozen=True)
class LanczosSolver:
    """Householder-Lanczos from the first patch, batched, in float64, on any device.

    Attributes:
        tolerance: Largest residual relative to the gap between λ₂ and λ₃.
        check_every: Steps between convergence checks.
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
        complete = graph.patches <= self.complete_below
        steps = min(max(self.max_steps, _MIN_STEPS), graph.patches)
        reduction = _start(operator, steps, may_restart=not complete)
        found = RitzPairs.empty(len(graph.images), steps, graph.active.device)
        converged = torch.zeros_like(found.values, dtype=torch.bool)
        while reduction.size < steps and not converged.all():
            size = steps if complete else min(max(reduction.size + self.check_every, _FIRST_CHECK), steps)
            while reduction.size < size:
                reduction.step()
            pairs, converged_now = self._check_convergence(reduction, graph)
            found = found.replace(converged_now & ~converged, pairs)
            converged = converged | converged_now
        x = reduction.rotate(F.pad(found.vectors, (0, graph.patches - steps)))
        residuals = torch.linalg.vector_norm(operator(x) - found.values[:, None] * x, dim=1)
        inaccurate = residuals > 10 * (self.tolerance * found.gaps + _ROUNDING)
        failed = (inaccurate | ~converged).nonzero().flatten()
        vectors = operator.root_inverse * x
        if not len(failed):
            return Eigenpairs(vectors, found.values)
        _log.info("no clear second eigenvector in %d of %d graphs: decomposed in full", len(failed), len(graph.images))
        full = self.reference(graph.select(failed.tolist()))
        return Eigenpairs(vectors.index_copy(0, failed, full.vectors), found.values.index_copy(0, failed, full.values))

    def _check_convergence(
        self, reduction: HouseholderTridiagonal | KernelTridiagonal, graph: PatchGraph
    ) -> tuple[RitzPairs, Bool[Tensor, " batch"]]:
        """Second eigenpairs of the matrices so far, and whether they are those of the graphs."""
        size = reduction.size
        diagonals, offdiagonals = reduction.tridiagonals()
        pairs = second_ritz_pairs(diagonals, offdiagonals[:, :-1], kernels=graph.kernels)
        if size == graph.patches:
            return pairs, torch.ones_like(pairs.values, dtype=torch.bool)
        converged = (offdiagonals[:, -1] * pairs.vectors[:, -1]).abs() < self.tolerance * pairs.gaps
        # a weak link may hide a component from the first patch: require the same value from half of the steps
        weak = offdiagonals.abs().amin(1) < _WEAK_LINK
        half = size // 2
        if half < 2:
            converged = converged & ~weak
        elif weak.any():
            before = second_ritz_pairs(diagonals[:, :half], offdiagonals[:, : half - 1], kernels=graph.kernels)
            converged = converged & (~weak | ((before.values - pairs.values).abs() < _ROUNDING))
        return pairs, converged


def _start(
    operator: NormalisedLaplacian, capacity: int, *, may_restart: bool
) -> HouseholderTridiagonal | KernelTridiagonal:
    edges = operator.graph.edges
    if isinstance(edges, PackedEdges):
        return KernelTridiagonal.start(operator, edges, capacity, may_restart=may_restart)
    return HouseholderTridiagonal.start(operator, capacity, may_restart=may_restart)


@dataclass(frozen=True)
class AutoSolver:
    """The full decomposition for small graphs, Lanczos for the others."""

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
    """A solver by its registered name; a solver object is returned as it is.

    Raises:
        ConfigError: No solver has this name.
    """
    if not isinstance(solver, str):
        return solver
    if solver not in SOLVERS:
        raise ConfigError(f"maskcut solver {solver!r} is unknown; choose from {', '.join(sorted(SOLVERS))}")
    return SOLVERS[solver]
