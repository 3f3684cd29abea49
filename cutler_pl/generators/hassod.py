"""Region merging with part levels, as HASSOD makes its pseudo-masks.

HASSOD, "Hierarchical Adaptive Self-Supervised Object Detection" (Cao et al., NeurIPS 2023), Section 3.1: each patch is
a region; the most similar neighbours are merged, by the cosine of their mean tokens, until none is above a threshold;
the regions at each threshold are kept, so that masks hold their parts. Deviation: pairs of regions that are each
other's most similar neighbour are merged at the same time, over a whole batch, instead of one pair after the other.
The score is this project's.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from cutler_pl.generators.levels import Level, image_candidates, parents
from cutler_pl.generators.options import GeneratorOptions
from cutler_pl.generators.regions import Regions
from cutler_pl.generators.tokens import unit_tokens
from cutler_pl.maskcut.generator import Candidates, Features, only_backbone, shift
from cutler_pl.maskcut.refinement import RefinementPolicy
from cutler_pl.runtime.ranges import Integer, Share, Shares


@dataclass(frozen=True, kw_only=True)
class Hassod(GeneratorOptions):
    """Options of region merging.

    Attributes:
        thresholds: Cosines down to which neighbours are merged; the regions at each are kept.
        min_cover: Share of a mask that its parent covers; the parent is the smallest such mask.
        min_patches: Regions of fewer patches are no candidates.
    """

    thresholds: Shares = (0.4, 0.2, 0.1)
    min_cover: Share = 0.9
    min_patches: Annotated[int, Integer(1, 1_000_000)] = 2

    name: ClassVar[str] = "hassod"
    policy: ClassVar[RefinementPolicy] = RefinementPolicy(min_area=100, max_corners=2)

    def shifted(self, step: float) -> "Hassod":
        """See `Shiftable`."""
        return replace(self, thresholds=tuple(shift(one, step) for one in self.thresholds))

    def propose(self, images: UInt8[Tensor, "batch 3 height width"], features: Features) -> list[Candidates]:
        """See `Generator`."""
        grid = only_backbone(self.name, features)
        batch, _, h, w = grid.shape
        tokens = unit_tokens(grid)
        regions = Regions.of_patches(batch, h, w, grid.device)
        levels = []
        for threshold in sorted(self.thresholds, reverse=True):
            regions = merge_similar(regions, tokens, threshold=threshold)
            levels.append(Level(threshold, regions))
        found = image_candidates(levels, tokens, min_patches=self.min_patches, max_corners=self.policy.max_corners)
        return [self._with_parents(one) for one in found]

    def _with_parents(self, found: Candidates) -> Candidates:
        """Each mask with its number, and that of the mask that it is a part of."""
        numbers = parents(found.masks, min_cover=self.min_cover)
        family = [
            {**one, "number": number, "parent": parent}
            for number, (one, parent) in enumerate(zip(found.provenance, numbers, strict=True), 1)
        ]
        return replace(found, provenance=family)


def merge_similar(regions: Regions, tokens: Float32[Tensor, "batch patches dim"], *, threshold: float) -> Regions:
    """Merge pairs of neighbours that are each other's most similar, until no two neighbours reach the threshold."""
    while True:
        edges = regions.edges()
        if not len(edges):
            return regions
        means = F.normalize(regions.means(tokens), dim=1)
        cosines = (means[edges[:, 0]] * means[edges[:, 1]]).sum(1)
        mutual = _mutual(edges, cosines, regions.count) & (cosines >= threshold)
        if not mutual.any():
            return regions
        regions = regions.merge(edges[mutual])


def _mutual(edges: Int64[Tensor, "edges 2"], cosines: Float32[Tensor, " edges"], count: int) -> Bool[Tensor, " edges"]:
    """Edges that are the best of both of their ends; of equal ones the first counts."""
    order = torch.argsort(cosines, descending=True, stable=True)
    rank = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=order.device))
    best = rank.new_full((count,), len(edges))
    best.scatter_reduce_(0, edges.flatten(), rank.repeat_interleave(2), "amin")
    return (best[edges] == rank[:, None]).all(1)
