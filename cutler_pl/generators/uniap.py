"""UniAP: agglomerative pooling of patches over falling similarities, the masks of every level kept.

S2-UniSeg, "Fast Universal Agglomerative Pooling for Scalable Segment Anything without Supervision": patches are a
4-neighbour graph; neighbours at least τ alike are joined, all at once, and each region gets a new feature from all
patches that it attends to. With A = F Fᵀ of unit tokens F, the mean row of A of a region is its mean token times Fᵀ, so
that A is never stored. Bounds of how far their rows differ tell most neighbours apart; only the rows of the others are
computed. The score is this project's.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from cutler_pl.errors import ConfigError
from cutler_pl.generators.levels import Level, image_candidates
from cutler_pl.generators.options import GeneratorOptions
from cutler_pl.generators.regions import Regions
from cutler_pl.generators.tokens import unit_tokens
from cutler_pl.maskcut.generator import Candidates, Features, only_backbone, shift
from cutler_pl.maskcut.refinement import RefinementPolicy
from cutler_pl.runtime.ranges import Integer, Number, Share, Shares

_EDGES_AT_ONCE = 2048
_ROUNDING = 1e-3  # of the bounds in single precision, square roots included


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

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.taus) != sorted(self.taus, reverse=True):
            raise ConfigError(f"generator.taus={list(self.taus)}: the most alike are joined first; give falling values")

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
            alike = edges[self._are_alike(regions, edges, pooled, tokens, tau=tau)]
            if len(alike):
                regions = regions.merge(alike)
                pooled = self._pool(regions, tokens)
            levels.append(Level(tau, regions))
        return image_candidates(levels, tokens, min_patches=self.min_patches, max_corners=self.max_corners)

    def _are_alike(
        self,
        regions: Regions,
        edges: Int64[Tensor, "edges 2"],
        pooled: Float32[Tensor, "regions dim"],
        tokens: Float32[Tensor, "batch patches dim"],
        *,
        tau: float,
    ) -> Bool[Tensor, " edges"]:
        """Whether a weighted sum of the features' cosine and the likeness of the mean rows of A is at least τ."""
        means, image_of = regions.means(tokens), regions.images()
        sizes = torch.bincount(image_of[edges[:, 0]], minlength=len(tokens)).tolist()
        found = [
            self._are_alike_in_image(pooled[pairs], means[pairs[:, 0]] - means[pairs[:, 1]], one, tau=tau)
            for pairs, one in zip(torch.split(edges, sizes), tokens, strict=True)  # edges go image by image
        ]
        return torch.cat(found)

    def _are_alike_in_image(
        self,
        pooled: Float32[Tensor, "edges 2 dim"],
        differences: Float32[Tensor, "edges dim"],
        tokens: Float32[Tensor, "patches dim"],
        *,
        tau: float,
    ) -> Bool[Tensor, " edges"]:
        """The edges of one image; `differences` of their mean tokens x give those of their rows, F x.

        The mean of |F x| is at most the root of the mean square, and at least the mean square over |x|.
        """
        rest = 1 - self.feature_weight
        most = self.feature_weight * (pooled[:, 0] * pooled[:, 1]).sum(1) + rest
        squares = ((differences @ (tokens.T @ tokens / len(tokens))) * differences).sum(1).clamp(min=0)
        least = squares / differences.norm(dim=1).clamp(min=1e-12)
        alike = most - rest * squares.sqrt() >= tau + _ROUNDING
        unsure = ((most - rest * least >= tau - _ROUNDING) & ~alike).nonzero().flatten()
        for part in torch.split(unsure, _EDGES_AT_ONCE):
            alike[part] = most[part] - rest * (differences[part] @ tokens.T).abs().mean(1) >= tau
        return alike

    def _pool(self, regions: Regions, tokens: Float32[Tensor, "batch patches dim"]) -> Float32[Tensor, "regions dim"]:
        """Unit features of regions: the patches of the image by softmax of the region's mean row of A."""
        sizes = torch.bincount(regions.images(), minlength=len(tokens)).tolist()
        means = torch.split(regions.means(tokens), sizes)  # regions are numbered image by image
        pooled = [
            torch.softmax(own @ one.T / self.temperature, 1) @ one for own, one in zip(means, tokens, strict=True)
        ]
        return F.normalize(torch.cat(pooled), dim=1)
