"""MaskCut: cut the patch graph of an image, blank the object, and cut again, N times (CutLER, Section 3.2).

Reads top to bottom as the method: `build_graph` once, then in each round an eigenvector, a bipartition, the test
against the previous round, and the blanking of what was found. Grids need not be square.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from cutler_pl.errors import InputError
from cutler_pl.maskcut.affinity import PatchGraph, build_graph
from cutler_pl.maskcut.bipartition import Bipartition, bipartition, is_dropped
from cutler_pl.maskcut.ncut import Eigenpairs, EigenSolver, find_solver
from cutler_pl.maskcut.params import MaskCutParams

_GRAPH_BYTES_AT_ONCE = 4 << 30


@dataclass(frozen=True)
class CutDiagnostics:
    """What can be said of each round's cut; see `ncut.Eigenpairs` for the solver's part.

    Attributes:
        eigenvalues: λ₂; NaN where there was nothing to cut.
        gaps: λ₃ - λ₂.
        residuals: Of the eigenvector.
        tie_ratios: Near 1 the eigenvector's sign hangs on rounding; NaN unless Lanczos found it.
        products: Products with the graph; 0 for a reused or full decomposition.
        fallbacks: The fast solver gave up, the full decomposition was used.
        reused: The graph was the previous round's, and so was its eigenvector.
        dropped: The round's mask was dropped.
        corners: Corners of the image on the first positive side.
        seeds: Row-major patch the mask was grown from; -1 where there was nothing to cut.
        turned: The eigenvector's sign was changed.
    """

    eigenvalues: Float64[Tensor, "batch rounds"]
    gaps: Float64[Tensor, "batch rounds"]
    residuals: Float64[Tensor, "batch rounds"]
    tie_ratios: Float64[Tensor, "batch rounds"]
    products: Int64[Tensor, "batch rounds"]
    fallbacks: Bool[Tensor, "batch rounds"]
    reused: Bool[Tensor, "batch rounds"]
    dropped: Bool[Tensor, "batch rounds"]
    corners: Int64[Tensor, "batch rounds"]
    seeds: Int64[Tensor, "batch rounds"]
    turned: Bool[Tensor, "batch rounds"]


@dataclass(frozen=True)
class MaskCutResult:
    """Objects of a batch of images on the patch grid.

    Attributes:
        masks: One object a round, before what earlier rounds found is taken off; a dropped round is all False.
        eigenvectors: Second smallest generalised eigenvector of each round, vᵀ D v = 1, positive on the object's
            side; of dropped rounds too; zero where there was nothing to cut.
        diagnostics: How sure each round's cut is.
    """

    masks: Bool[Tensor, "batch rounds h w"]
    eigenvectors: Float64[Tensor, "batch rounds h w"]
    diagnostics: CutDiagnostics


def maskcut(
    features: Float[Tensor, "batch dim h w"], params: MaskCutParams, *, solver: str | EigenSolver = "auto"
) -> MaskCutResult:
    """Find up to N objects in each image from its patch features.

    Args:
        features: Patch features of any scale, on any device; the work is done there.
        params: The method's constants.
        solver: `auto`, `lanczos`, `scipy`, or an object like those in `ncut`.

    Returns:
        Masks and eigenvectors on the features' device. The same features give the same masks, alone or in a batch.

    Raises:
        InputError: The features are not four-dimensional or not finite.
        ConfigError: No solver has this name.

    Source: CutLER, Section 3.2 and Figure 3.
    """
    solve = find_solver(solver)
    if features.ndim != 4:
        raise InputError(f"features have shape {tuple(features.shape)}; expected (batch, dim, h, w)")
    if not features.isfinite().all():
        bad = (~features.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        raise InputError(
            f"features of the images {bad} of the batch hold NaN or infinity; check the extractor's weights"
        )
    parts = [_cut_together(part, params, solve) for part in _parts(features)]
    diagnostics = CutDiagnostics(
        **{f.name: torch.cat([getattr(p.diagnostics, f.name) for p in parts]) for f in fields(CutDiagnostics)}
    )
    return MaskCutResult(torch.cat([p.masks for p in parts]), torch.cat([p.eigenvectors for p in parts]), diagnostics)


@dataclass(frozen=True)
class _Solution:
    """Second eigenpair of one image's graph on the CPU, and what it leads to."""

    cut: Bipartition
    eigenvalue: float = np.nan
    gap: float = np.nan
    residual: float = np.nan
    tie_ratio: float = np.nan
    products: int = 0
    fallback: bool = False
    reused: bool = False

    @classmethod
    def nothing(cls, grid_hw: tuple[int, int]) -> "_Solution":
        empty = np.zeros(grid_hw, dtype=bool)
        return cls(Bipartition(mask=empty, vector=np.zeros(grid_hw), seed=-1, corners=0, turned=False))


@dataclass(frozen=True)
class _Round:
    solution: _Solution
    mask: Bool[np.ndarray, "h w"]
    dropped: bool


def _parts(features: Float[Tensor, "batch dim h w"]) -> Sequence[Float[Tensor, "part dim h w"]]:
    """Parts of the batch that are cut together: one image on the CPU, what fits in memory on an accelerator."""
    patches = features.shape[2] * features.shape[3]
    on_accelerator = features.device.type != "cpu"
    size = max(1, _GRAPH_BYTES_AT_ONCE // (4 * patches**2)) if on_accelerator and patches else 1
    return torch.split(features, size) if len(features) else (features,)


def _cut_together(features: Float[Tensor, "part dim h w"], params: MaskCutParams, solve: EigenSolver) -> MaskCutResult:
    batch, _, h, w = features.shape
    graph = build_graph(features, tau=params.tau, eps=params.eps)
    history: list[list[_Round]] = [[] for _ in range(batch)]
    for _ in range(params.num_masks):
        # a dropped round leaves the graph as it was, and with it the cut
        changed = [i for i in range(batch) if not history[i] or not history[i][-1].dropped]
        previous = [history[i][-1].mask if history[i] else None for i in changed]
        solutions = dict(zip(changed, _solutions(graph.select(changed), (h, w), previous, params, solve), strict=True))
        for i, rounds in enumerate(history):
            rounds.append(_next_round(rounds, solutions.get(i), params))
        found = np.array([rounds[-1].mask for rounds in history], dtype=bool).reshape(batch, h * w)
        graph = graph.blank(torch.from_numpy(found).to(features.device))
    return _collect(history, (params.num_masks, h, w), features.device)


def _solutions(
    graph: PatchGraph,
    grid_hw: tuple[int, int],
    previous: Sequence[Bool[np.ndarray, "h w"] | None],
    params: MaskCutParams,
    solve: EigenSolver,
) -> list[_Solution]:
    """Eigenpairs and cuts of these graphs."""
    if not graph.images:
        return []
    solutions = [_Solution.nothing(grid_hw) for _ in graph.images]
    degrees = graph.degrees()
    # with all patches alike, or none, every cut is as good as any other
    alike = (degrees == 0).all(1) | (degrees == graph.patches).all(1)
    cuttable = (~alike).nonzero().flatten().tolist()
    if not cuttable or graph.patches < 2:
        return solutions
    pairs = solve(graph.select(cuttable))
    vectors = pairs.vectors.cpu().numpy().reshape(-1, *grid_hw)
    blanks = (degrees[cuttable] == 0).cpu().numpy().reshape(-1, *grid_hw)
    for k, i in enumerate(cuttable):
        cut = bipartition(
            vectors[k],
            float(pairs.values[k]),
            blank=blanks[k],
            previous=previous[i],
            corner_rule=params.corner_rule,
        )
        solutions[i] = _solution(cut, pairs, k)
    return solutions


def _solution(cut: Bipartition, pairs: Eigenpairs, k: int) -> _Solution:
    return _Solution(
        cut=cut,
        eigenvalue=float(pairs.values[k]),
        gap=float(pairs.gaps[k]),
        residual=float(pairs.residuals[k]),
        tie_ratio=float(pairs.tie_ratios[k]),
        products=int(pairs.products[k]),
        fallback=bool(pairs.fallbacks[k]),
    )


def _next_round(rounds: list[_Round], solution: _Solution | None, params: MaskCutParams) -> _Round:
    """Accept or drop the next mask; no solution means the one of the last round again."""
    if not rounds:
        assert solution is not None  # every image is solved in the first round
        return _Round(solution, solution.cut.mask, dropped=not solution.cut.mask.any())
    last = rounds[-1]
    if solution is None:
        solution = replace(last.solution, reused=True, products=0, fallback=False)
    mask = solution.cut.mask
    dropped = (params.stop == "dropped" and last.dropped) or is_dropped(mask, last.mask, params)
    return _Round(solution, np.zeros_like(mask) if dropped else mask, dropped)


def _collect(history: list[list[_Round]], shape: tuple[int, int, int], device: torch.device) -> MaskCutResult:
    def column(values: list[list[float]] | list[list[int]] | list[list[bool]], dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device).reshape(len(history), shape[0])

    def solved(name: str, dtype: torch.dtype) -> Tensor:
        return column([[getattr(r.solution, name) for r in rounds] for rounds in history], dtype)

    def cut(name: str, dtype: torch.dtype) -> Tensor:
        return column([[getattr(r.solution.cut, name) for r in rounds] for rounds in history], dtype)

    masks = np.array([[r.mask for r in rounds] for rounds in history], dtype=bool)
    vectors = np.array([[r.solution.cut.vector for r in rounds] for rounds in history], dtype=np.float64)
    return MaskCutResult(
        masks=torch.from_numpy(masks.reshape(len(history), *shape)).to(device),
        eigenvectors=torch.from_numpy(vectors.reshape(len(history), *shape)).to(device),
        diagnostics=CutDiagnostics(
            eigenvalues=solved("eigenvalue", torch.float64),
            gaps=solved("gap", torch.float64),
            residuals=solved("residual", torch.float64),
            tie_ratios=solved("tie_ratio", torch.float64),
            products=solved("products", torch.int64),
            fallbacks=solved("fallback", torch.bool),
            reused=solved("reused", torch.bool),
            dropped=column([[r.dropped for r in rounds] for rounds in history], torch.bool),
            corners=cut("corners", torch.int64),
            seeds=cut("seed", torch.int64),
            turned=cut("turned", torch.bool),
        ),
    )
