"""MaskCut: cut the patch graph of an image, blank the object, and cut again, N times (CutLER, Section 3.2).

Reads top to bottom as the method: `build_graph` once, then in each round an eigenvector, a bipartition, the test
against the previous round, and the blanking of what was found. Grids need not be square.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from cutler_pl.errors import InputError
from cutler_pl.maskcut.affinity import PatchGraph, build_graph
from cutler_pl.maskcut.bipartition import Bipartition, bipartition, border_share, is_dropped
from cutler_pl.maskcut.ncut import EigenSolver, find_solver
from cutler_pl.maskcut.params import MaskCutParams

_GRAPH_BYTES_AT_ONCE = 4 << 30


@dataclass(frozen=True)
class CutDiagnostics:
    """What can be said of each round's cut; see `ncut.Eigenpairs` for the solver's part.

    Attributes:
        eigenvalues: λ₂; NaN where there was nothing to cut.
        gaps: λ₃ - λ₂.
        residuals: Of the eigenvector.
        sign_margin: Near 1 the eigenvector's sign hangs on rounding; NaN unless Lanczos found it.
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
    sign_margin: Float64[Tensor, "batch rounds"]
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
    with torch.autocast(features.device.type, enabled=False):  # half precision would move edges across τ
        parts = [_cut_together(part, params, solve) for part in _parts(features)]
    diagnostics = CutDiagnostics(
        **{f.name: torch.cat([getattr(p.diagnostics, f.name) for p in parts]) for f in fields(CutDiagnostics)}
    )
    return MaskCutResult(torch.cat([p.masks for p in parts]), torch.cat([p.eigenvectors for p in parts]), diagnostics)


@dataclass(frozen=True)
class _Solutions:
    """Second eigenpairs of a batch of graphs, and the cuts they lead to."""

    cut: Bipartition
    eigenvalues: Float64[Tensor, " batch"]
    gaps: Float64[Tensor, " batch"]
    residuals: Float64[Tensor, " batch"]
    sign_margin: Float64[Tensor, " batch"]
    products: Int64[Tensor, " batch"]
    fallbacks: Bool[Tensor, " batch"]
    reused: Bool[Tensor, " batch"]

    @classmethod
    def nothing(cls, batch: int, grid_hw: tuple[int, int], device: torch.device) -> "_Solutions":
        """Graphs in which every cut is as good as any other."""
        unknown = torch.full((batch,), torch.nan, dtype=torch.float64, device=device)
        none = torch.zeros(batch, dtype=torch.int64, device=device)
        return cls(
            Bipartition.nothing(batch, grid_hw, device),
            *(unknown, unknown, unknown, unknown),
            products=none,
            fallbacks=none.bool(),
            reused=none.bool(),
        )

    def put(self, indices: Int64[Tensor, " some"], other: "_Solutions") -> "_Solutions":
        """A copy in which the entries at `indices` are those of `other`."""
        cut = {f.name: _put(self.cut, other.cut, f.name, indices) for f in fields(Bipartition)}
        rest = {f.name: _put(self, other, f.name, indices) for f in fields(self) if f.name != "cut"}
        return _Solutions(cut=Bipartition(**cut), **rest)

    def again(self) -> "_Solutions":
        """The same for another round without solving."""
        none = torch.zeros_like(self.products)
        return replace(self, products=none, fallbacks=none.bool(), reused=~none.bool())


@dataclass(frozen=True)
class _Round:
    solutions: _Solutions
    masks: Bool[Tensor, "batch h w"]
    dropped: Bool[Tensor, " batch"]


def _parts(features: Float[Tensor, "batch dim h w"]) -> Sequence[Float[Tensor, "part dim h w"]]:
    """Parts of the batch that are cut together: one image on the CPU, what fits in memory on an accelerator."""
    patches = features.shape[2] * features.shape[3]
    on_accelerator = features.device.type != "cpu"
    size = max(1, _GRAPH_BYTES_AT_ONCE // (4 * patches**2)) if on_accelerator and patches else 1
    return torch.split(features, size) if len(features) else (features,)


def _cut_together(features: Float[Tensor, "part dim h w"], params: MaskCutParams, solve: EigenSolver) -> MaskCutResult:
    batch, _, h, w = features.shape
    graph = build_graph(features, tau=params.tau, eps=params.eps)
    rounds: list[_Round] = []
    for _ in range(params.num_masks):
        rounds.append(_next_round(graph, (h, w), rounds[-1] if rounds else None, params, solve))
        graph = graph.blank(rounds[-1].masks.reshape(batch, h * w))
    return _collect(rounds)


def _next_round(
    graph: PatchGraph, grid_hw: tuple[int, int], last: _Round | None, params: MaskCutParams, solve: EigenSolver
) -> _Round:
    """Cut each graph, and accept or drop the mask; a dropped round left its graph, and with it the cut, as it was."""
    if last is None:
        solutions = _solutions(graph, grid_hw, None, params, solve)
        masks = solutions.cut.masks
        dropped = ~masks.flatten(1).any(1) | _should_stop(solutions, params)
        return _Round(solutions, masks & ~dropped[:, None, None], dropped)
    changed = (~last.dropped).nonzero().flatten()
    fresh = _solutions(graph.select(changed.tolist()), grid_hw, last.masks[changed], params, solve)
    solutions = last.solutions.again().put(changed, fresh)
    masks = solutions.cut.masks
    dropped = is_dropped(masks, last.masks, params) | _should_stop(solutions, params)
    if params.stop != "never":
        dropped = dropped | last.dropped
    return _Round(solutions, masks & ~dropped[:, None, None], dropped)


def _should_stop(solutions: _Solutions, params: MaskCutParams) -> Bool[Tensor, " batch"]:
    """Images in which no object is left: the cut is too dear, or what it cuts out looks like background."""
    ends = torch.zeros_like(solutions.fallbacks)
    if params.stop in ("ncut_value", "adaptive"):
        ends = ends | (solutions.eigenvalues > params.max_ncut_value)
    if params.stop in ("foreground", "adaptive"):
        ends = ends | (border_share(solutions.cut.masks) > params.max_border)
    return ends


def _solutions(
    graph: PatchGraph,
    grid_hw: tuple[int, int],
    previous: Bool[Tensor, "batch h w"] | None,
    params: MaskCutParams,
    solve: EigenSolver,
) -> _Solutions:
    """Eigenpairs and cuts of these graphs."""
    solutions = _Solutions.nothing(len(graph.images), grid_hw, graph.kept.device)
    if not graph.images or graph.patches < 2:
        return solutions
    degrees = graph.degrees()
    # with all patches alike, or none, every cut is as good as any other
    alike = (degrees == 0).all(1) | (degrees == graph.patches).all(1)
    cuttable = (~alike).nonzero().flatten()
    if not len(cuttable):
        return solutions
    pairs = solve(graph.select(cuttable.tolist()))
    cut = bipartition(
        pairs.vectors.view(-1, *grid_hw),
        pairs.values,
        blank=(degrees[cuttable] == 0).view(-1, *grid_hw),
        previous=None if previous is None else previous[cuttable],
        corner_rule=params.corner_rule,
    )
    solved = _Solutions(
        cut=cut,
        eigenvalues=pairs.values,
        gaps=pairs.gaps,
        residuals=pairs.residuals,
        sign_margin=pairs.sign_margin,
        products=pairs.products,
        fallbacks=pairs.fallbacks,
        reused=torch.zeros_like(pairs.fallbacks),
    )
    return solutions.put(cuttable, solved)


def _put(ours: object, theirs: object, name: str, indices: Int64[Tensor, " some"]) -> Tensor:
    values: Tensor = getattr(ours, name)
    return values.index_copy(0, indices, getattr(theirs, name))


def _collect(rounds: list[_Round]) -> MaskCutResult:
    def solved(name: str) -> Tensor:
        return torch.stack([getattr(r.solutions, name) for r in rounds], 1)

    def cut(name: str) -> Tensor:
        return torch.stack([getattr(r.solutions.cut, name) for r in rounds], 1)

    names = ("eigenvalues", "gaps", "residuals", "sign_margin", "products", "fallbacks", "reused")
    return MaskCutResult(
        masks=torch.stack([r.masks for r in rounds], 1),
        eigenvectors=cut("vectors"),
        diagnostics=CutDiagnostics(
            **{name: solved(name) for name in names},
            dropped=torch.stack([r.dropped for r in rounds], 1),
            corners=cut("corners"),
            seeds=cut("seeds"),
            turned=cut("turned"),
        ),
    )
