"""MaskCut: cut the patch graph of an image, blank the object, and cut again, N times (CutLER, Section 3.2).

`build_graph` once, then in each round an eigenvector, a bipartition, the test against the previous round, and the
blanking of what was found. Grids need not be square.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from cutler_pl.errors import InputError
from cutler_pl.maskcut.affinity import PatchGraph, build_graph
from cutler_pl.maskcut.bipartition import bipartition, border_share, is_dropped
from cutler_pl.maskcut.ncut import EigenSolver, find_solver
from cutler_pl.maskcut.params import MaskCutParams

_MAX_GRAPH_BYTES = 4 << 30


@dataclass(frozen=True)
class MaskCutResult:
    """Objects of a batch of images on the patch grid.

    Attributes:
        masks: One object per round, before what earlier rounds found is subtracted; a dropped round is all False.
        eigenvectors: Second smallest generalised eigenvector of each round, vᵀ D v = 1, positive on the object's
            side; of dropped rounds too; zero where there was nothing to cut.
        ncut_values: λ₂ of each round, the relaxed normalised cut; NaN where there was nothing to cut.
    """

    masks: Bool[Tensor, "batch rounds h w"]
    eigenvectors: Float64[Tensor, "batch rounds h w"]
    ncut_values: Float64[Tensor, "batch rounds"]


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
        results = [_cut_chunk(chunk, params, solve) for chunk in _chunks(features)]
    return MaskCutResult(
        masks=torch.cat([r.masks for r in results]),
        eigenvectors=torch.cat([r.eigenvectors for r in results]),
        ncut_values=torch.cat([r.ncut_values for r in results]),
    )


@dataclass(frozen=True)
class _Cuts:
    """Cuts of a batch of graphs."""

    masks: Bool[Tensor, "batch h w"]
    vectors: Float64[Tensor, "batch h w"]
    ncut_values: Float64[Tensor, " batch"]

    @classmethod
    def empty(cls, batch: int, grid_hw: tuple[int, int], device: torch.device) -> "_Cuts":
        """Graphs in which every cut is as good as any other."""
        vectors = torch.zeros(batch, *grid_hw, dtype=torch.float64, device=device)
        return cls(vectors.bool(), vectors, vectors.new_full((batch,), torch.nan))

    def put(self, indices: Int64[Tensor, " some"], other: "_Cuts") -> "_Cuts":
        """A copy in which the cuts at `indices` are those of `other`."""
        return _Cuts(
            self.masks.index_copy(0, indices, other.masks),
            self.vectors.index_copy(0, indices, other.vectors),
            self.ncut_values.index_copy(0, indices, other.ncut_values),
        )


def _chunks(features: Float[Tensor, "batch dim h w"]) -> Sequence[Float[Tensor, "chunk dim h w"]]:
    """Parts of the batch that are cut together: one image on the CPU, what fits in memory on an accelerator."""
    patches = features.shape[2] * features.shape[3]
    on_accelerator = features.device.type != "cpu"
    size = max(1, _MAX_GRAPH_BYTES // (4 * patches**2)) if on_accelerator and patches else 1
    return torch.split(features, size) if len(features) else (features,)


def _cut_chunk(features: Float[Tensor, "chunk dim h w"], params: MaskCutParams, solve: EigenSolver) -> MaskCutResult:
    """Cut each graph N times. A dropped round leaves its graph as it was, so the next one reuses its cut."""
    batch, _, h, w = features.shape
    graph = build_graph(features, tau=params.tau, eps=params.eps)
    cuts = _Cuts.empty(batch, (h, w), features.device)
    masks, dropped = cuts.masks, torch.zeros(batch, dtype=torch.bool, device=features.device)
    rounds: list[_Cuts] = []
    for _ in range(params.num_masks):
        changed = (~dropped).nonzero().flatten()
        cuts = cuts.put(changed, _cut(graph.select(changed.tolist()), masks[changed], params, solve))
        repeated_or_small = is_dropped(cuts.masks, masks, params) if rounds else ~cuts.masks.flatten(1).any(1)
        stopped = dropped if params.stop != "never" else torch.zeros_like(dropped)
        dropped = repeated_or_small | _should_stop(cuts, params) | stopped
        masks = cuts.masks & ~dropped[:, None, None]
        graph = graph.blank(masks.flatten(1))
        rounds.append(_Cuts(masks, cuts.vectors, cuts.ncut_values))
    return MaskCutResult(
        masks=torch.stack([r.masks for r in rounds], 1),
        eigenvectors=torch.stack([r.vectors for r in rounds], 1),
        ncut_values=torch.stack([r.ncut_values for r in rounds], 1),
    )


def _should_stop(cuts: _Cuts, params: MaskCutParams) -> Bool[Tensor, " batch"]:
    """Whether the Ncut value exceeds `max_ncut_value`, or the mask covers too much of the border."""
    stop = torch.zeros_like(cuts.ncut_values, dtype=torch.bool)
    if params.stop in ("ncut_value", "adaptive"):
        stop = stop | (cuts.ncut_values > params.max_ncut_value)
    if params.stop in ("foreground", "adaptive"):
        stop = stop | (border_share(cuts.masks) > params.max_border)
    return stop


def _cut(graph: PatchGraph, previous: Bool[Tensor, "batch h w"], params: MaskCutParams, solve: EigenSolver) -> _Cuts:
    """Cut these graphs once."""
    batch, *grid_hw = previous.shape
    cuts = _Cuts.empty(batch, (grid_hw[0], grid_hw[1]), previous.device)
    if not batch or graph.patches < 2:
        return cuts
    degrees = graph.degrees()
    # with all patches alike, or none, every cut is as good as any other
    alike = (degrees == 0).all(1) | (degrees == graph.patches).all(1)
    cuttable = (~alike).nonzero().flatten()
    if not len(cuttable):
        return cuts
    pairs = solve(graph.select(cuttable.tolist()))
    cut = bipartition(
        pairs.vectors.view(-1, *grid_hw),
        pairs.values,
        blank=(degrees[cuttable] == 0).view(-1, *grid_hw),
        previous=previous[cuttable],
        corner_rule=params.corner_rule,
    )
    return cuts.put(cuttable, _Cuts(cut.masks, cut.vectors, pairs.values))
