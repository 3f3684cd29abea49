"""UniAP: agglomerative pooling of patches over falling similarities, the masks of every level kept.

S2-UniSeg, "Fast Universal Agglomerative Pooling for Scalable Segment Anything without Supervision": patches are a
4-neighbour graph; neighbours at least τ alike are joined, all at once, and each region gets a new feature from all
patches that it attends to. With A = F Fᵀ of unit tokens F, the mean row of A of a region is its mean token times Fᵀ, so
that A is never stored twice. The score is this project's.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from cutler_pl.generators.levels import Level, image_candidates
from cutler_pl.generators.options import GeneratorOptions
from cutler_pl.generators.regions import Regions
from cutler_pl.generators.tokens import unit_tokens
from cutler_pl.maskcut.generator import Candidates, Features, only_backbone, shift
from cutler_pl.maskcut.refinement import RefinementPolicy
from cutler_pl.runtime.ranges import Integer, Number, Share, Shares

_EDGES_AT_ONCE = 2048


@dataclass(frozen=True, kw_only=True)
class UniAP(GeneratorOptions):
    """Options of UniAP.

    Attributes:
        taus: τ of each level: neighbours at least this similar are joined.
        feature_weight: Weight of the features' cosine in the similarity; the rest is that of the rows of A.
        temperature: Of the softmax by which a region attends to the patches.
        min_patches: Regions of fewer patches are no candidates.
        max_corners: Regions with more of the image's corners are no candidates.
    """

    taus: Shares = (0.8, 0.7, 0.6, 0.5, 0.4)
    feature_weight: Share = 0.6
    temperature: Annotated[float, Number(above=0, max=100)] = 0.07
    min_patches: Annotated[int, Integer(1, 1_000_000)] = 16
    max_corners: Annotated[int, Integer(0, 4)] = 1

    name: ClassVar[str] = "uniap"
    policy: ClassVar[RefinementPolicy] = RefinementPolicy()

    def shifted(self, step: float) -> "UniAP":
        """See `Shiftable`."""
        return replace(self, taus=tuple(shift(one, step) for one in self.taus))

    def propose(self, images: UInt8[Tensor, "batch 3 height width"], features: Features) -> list[Candidates]:
        """See `Generator`."""
        grid = only_backbone(self.name, features)
        batch, _, h, w = grid.shape
        tokens = unit_tokens(grid)
        regions = Regions.of_patches(batch, h, w, grid.device)
        pooled = tokens.flatten(0, 1)
        levels = []
        for tau in sorted(self.taus, reverse=True):
            edges = regions.edges()
            rows = _rows(regions, tokens)
            alike = edges[self._similarities(edges, pooled, rows) >= tau]
            if len(alike):
                regions = regions.merge(alike)
                pooled = self._pool(regions, tokens)
            levels.append(Level(tau, regions))
        return image_candidates(levels, tokens, min_patches=self.min_patches, max_corners=self.max_corners)

    def _similarities(
        self,
        edges: Int64[Tensor, "edges 2"],
        pooled: Float32[Tensor, "regions dim"],
        rows: Float32[Tensor, "regions patches"],
    ) -> Float32[Tensor, " edges"]:
        """Weighted sum of the cosine of the features and the likeness of the mean rows of A."""
        parts = [
            self.feature_weight * (pooled[first] * pooled[second]).sum(1)
            + (1 - self.feature_weight) * (1 - (rows[first] - rows[second]).abs().mean(1))
            for first, second in (part.T for part in torch.split(edges, _EDGES_AT_ONCE))
        ]
        return torch.cat(parts) if parts else pooled.new_zeros(0)

    def _pool(self, regions: Regions, tokens: Float32[Tensor, "batch patches dim"]) -> Float32[Tensor, "regions dim"]:
        """Unit features of regions: the patches of the image by softmax of the region's mean row of A."""
        images = regions.images()
        weights = torch.softmax(_rows(regions, tokens) / self.temperature, 1)
        pooled = [weights[images == i] @ one for i, one in enumerate(tokens)]
        return F.normalize(torch.cat(pooled), dim=1)


def _rows(regions: Regions, tokens: Float32[Tensor, "batch patches dim"]) -> Float32[Tensor, "regions patches"]:
    """Mean row of A = F Fᵀ of each region, within its image; regions are numbered image by image."""
    means, images = regions.means(tokens), regions.images()
    return torch.cat([means[images == i] @ one.T for i, one in enumerate(tokens)])
