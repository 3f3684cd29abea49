"""VoteCut: cuts of several backbones, or thresholds, vote for the masks of an image.

Arica et al., "CuVLER: Enhanced Unsupervised Object Discoveries through Exhaustive Self-Supervised Transformers", CVPR
2024. One cut per backbone; its eigenvector is clustered into two and three labels, the connected parts of labels
outside the image's corners are masks; masks that overlap form clusters, and the share of a cluster's size is the score
of its mask. Several τ per backbone are an addition of this project.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, UInt8
from torch import Tensor

from cutler_pl.generators.kmeans import kmeans_1d
from cutler_pl.generators.options import GeneratorOptions
from cutler_pl.generators.votes import Cluster, cluster_masks
from cutler_pl.maskcut.generator import Candidates, Features, shift
from cutler_pl.maskcut.params import MaskCutParams
from cutler_pl.maskcut.pipeline import maskcut
from cutler_pl.maskcut.refinement import RefinementPolicy
from cutler_pl.ops.components import label_components
from cutler_pl.runtime.ranges import Count, Integer, ListOf, Share, Shares


class _Vote(NamedTuple):
    """A mask on the common grid, and the cut that it is of."""

    mask: Bool[Tensor, "h w"]
    cut: str


@dataclass(frozen=True, kw_only=True)
class VoteCut(GeneratorOptions):
    """Options of VoteCut.

    Attributes:
        taus: τ of each cut: each backbone is cut once with each.
        ks: Numbers of labels into which an eigenvector is clustered.
        max_corners: A label with more of the image's corners is background.
        max_parts: A label of more connected parts is left out.
        min_patches: So are parts of fewer patches.
        side: Rows and columns of the common grid.
        min_iou: Masks vote for the same object where their IoU is above this.
        min_votes: A mask is where more than this share of its voters agree.
        max_masks: Masks per image.
    """

    taus: Shares = (0.15,)
    ks: Annotated[Sequence[int], ListOf(Integer(2, 16), as_tuple=True)] = (2, 3)
    max_corners: Annotated[int, Integer(0, 4)] = 1
    max_parts: Count = 30
    min_patches: Annotated[int, Integer(1, 1_000_000)] = 25
    side: Annotated[int, Integer(2, 1024)] = 60
    min_iou: Share = 0.6
    min_votes: Share = 0.2
    max_masks: Annotated[int, Integer(1, 1000)] = 10

    name: ClassVar[str] = "votecut"
    policy: ClassVar[RefinementPolicy] = RefinementPolicy(margin=1 / 3, weigh_score=False)

    def shifted(self, step: float) -> "VoteCut":
        """See `Shiftable`."""
        return replace(self, taus=tuple(shift(one, step) for one in self.taus))

    def propose(self, images: UInt8[Tensor, "batch 3 height width"], features: Features) -> list[Candidates]:
        """See `Generator`."""
        votes: list[list[_Vote]] = [[] for _ in range(len(images))]
        for name, grid in features.items():
            for tau in self.taus:
                cut = name if len(self.taus) == 1 else f"{name} τ={tau:g}"
                vectors = maskcut(grid, MaskCutParams(tau=tau, num_masks=1)).eigenvectors[:, 0]
                for image, mask in self._parts(vectors):
                    votes[image].append(_Vote(mask, cut))
        device = next(iter(features.values())).device
        return [self._elect(one, device) for one in votes]

    def _parts(self, vectors: Float64[Tensor, "batch h w"]) -> Iterator[tuple[int, Bool[Tensor, "side side"]]]:
        """The masks of the eigenvectors of a batch, each with its image."""
        batch, h, w = vectors.shape
        flat = vectors.flatten(1)
        is_cut = flat.amax(1) > flat.amin(1)
        for k in self.ks:
            if k > h * w:
                continue
            labels = kmeans_1d(flat, k).view(batch, 1, h, w)
            maps = labels == torch.arange(k, device=labels.device).view(1, k, 1, 1)
            in_corners = maps[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].sum(2)
            usable = (in_corners <= self.max_corners) & is_cut[:, None]
            yield from self._components((maps & usable[..., None, None]).flatten(0, 1), k)

    def _components(
        self, maps: Bool[Tensor, "maps h w"], per_image: int
    ) -> Iterator[tuple[int, Bool[Tensor, "side side"]]]:
        """The connected parts of label maps that are large enough, of maps that do not have too many."""
        count, h, w = maps.shape
        roots = label_components(maps)
        number = torch.arange(count, device=maps.device)[:, None, None]
        keys, sizes = torch.unique(torch.where(maps, number * (h * w) + roots, -1), return_counts=True)
        of_map = keys // (h * w)
        parts = torch.zeros(count, dtype=torch.int64, device=maps.device)
        parts.index_add_(0, of_map[keys >= 0], torch.ones_like(of_map[keys >= 0]))
        chosen = (keys >= 0) & (sizes >= self.min_patches)
        chosen &= parts[of_map.clamp(min=0)] <= self.max_parts
        which, first = of_map[chosen], keys[chosen] % (h * w)
        masks = (roots[which] == first[:, None, None]) & maps[which]
        if len(masks):
            masks = F.interpolate(masks[:, None].float(), (self.side, self.side), mode="nearest")[:, 0].bool()
        for index, mask in zip(which.tolist(), masks, strict=True):
            yield index // per_image, mask

    def _elect(self, votes: list[_Vote], device: torch.device) -> Candidates:
        """The masks of the largest clusters of an image."""
        if not votes:
            empty = torch.zeros(0, self.side, self.side, dtype=torch.bool, device=device)
            return Candidates(empty, empty.new_zeros(0, dtype=torch.float64), [], maps=self._map(empty.float()))
        masks = torch.stack([vote.mask for vote in votes])
        clusters = cluster_masks(masks, min_iou=self.min_iou, min_votes=self.min_votes)[: self.max_masks]
        most = len(clusters[0].members)
        scores = torch.tensor([len(one.members) / most for one in clusters], dtype=torch.float64, device=device)
        return Candidates(
            masks=torch.stack([one.mask for one in clusters]),
            scores=scores,
            provenance=[_tally(one, votes) for one in clusters],
            maps=self._map(masks.float()),
        )

    def _map(self, masks: Float[Tensor, "masks h w"]) -> dict[str, Float[Tensor, "h w"]]:
        return {"votes": masks.sum(0)}


def _tally(cluster: Cluster, votes: list[_Vote]) -> dict[str, Any]:
    """How many masks voted, and the cuts that they are of."""
    return {"votes": len(cluster.members), "backbones": sorted({votes[i].cut for i in cluster.members})}
