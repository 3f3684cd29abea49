"""ProMerge: one mask per seed patch, the background's masks left out, overlapping masks merged; no eigenvector.

Li and Shin, "ProMerge: Prompt and Merge for Unsupervised Instance Segmentation", ECCV 2024. A seed's mask is where the
cosine with it exceeds τ; one matrix product gives those of a batch. Masks along the border vote for the background.
The loops run over the masks in order of their areas, for all images of a batch at once. The score is this project's.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from cutler_pl.generators.options import GeneratorOptions
from cutler_pl.generators.tokens import contrast, mask_means, unit_tokens
from cutler_pl.maskcut.generator import Candidates, Features, only_backbone, shift
from cutler_pl.maskcut.refinement import RefinementPolicy
from cutler_pl.runtime.ranges import Integer, Number, Share

Cosine = Annotated[float, Number(min=-1, max=1)]


@dataclass(frozen=True, kw_only=True)
class ProMerge(GeneratorOptions):
    """Options of ProMerge.

    Attributes:
        stride: Every so many patches of a row and of a column are seeds.
        tau: τ, the cosine with the seed above which a patch belongs to its mask.
        side_share: A mask that covers more than this share of two sides of the image or more is a background candidate.
        background_votes: The background is where more than this share of its candidates agree.
        max_background: A mask whose new patches lie in the background by this share or more is left out.
        max_background_similarity: So is one whose mean token has this product or more with the background's.
        merge_overlap: A mask of which more than this share lies in a larger one is merged with it.
        merge_overlap_alike: So is one with this overlap where the mean tokens are alike.
        merge_similarity: Cosine from which on they are.
        min_patches: Masks of fewer patches are left out.
    """

    stride: Annotated[int, Integer(1, 64)] = 4
    tau: Cosine = 0.2
    side_share: Share = 0.5
    background_votes: Share = 0.5
    max_background: Share = 0.8
    max_background_similarity: Cosine = 0.1
    merge_overlap: Share = 0.5
    merge_overlap_alike: Share = 0.1
    merge_similarity: Cosine = 0.1
    min_patches: Annotated[int, Integer(1, 1_000_000)] = 4

    name: ClassVar[str] = "promerge"
    policy: ClassVar[RefinementPolicy] = RefinementPolicy()

    def shifted(self, step: float) -> "ProMerge":
        """See `Shiftable`."""
        return replace(self, tau=shift(self.tau, step, least=-1.0))

    def propose(self, images: UInt8[Tensor, "batch 3 height width"], features: Features) -> list[Candidates]:
        """See `Generator`."""
        grid = only_backbone(self.name, features)
        h, w = grid.shape[2:]
        tokens = unit_tokens(grid)
        masks = self._prompt(tokens, (h, w))
        background, votes = self._background(masks, (h, w))
        kept = self._foreground(masks, tokens, background)
        merged, seeds = self._merge(kept, tokens)
        return [
            Candidates(
                masks=(grids := merged[i, merged[i].any(1)].view(-1, h, w)),
                scores=contrast(grids, tokens[i]),
                provenance=[{"seeds": int(count)} for count in seeds[i, merged[i].any(1)].tolist()],
                maps={"background": votes[i].view(h, w)},
            )
            for i in range(len(tokens))
        ]

    def _prompt(
        self, tokens: Float32[Tensor, "batch patches dim"], grid_hw: tuple[int, int]
    ) -> Bool[Tensor, "batch seeds patches"]:
        """The mask of each seed, smallest first; one with too few patches is empty."""
        h, w = grid_hw
        first = self.stride // 2
        numbers = torch.arange(h * w, device=tokens.device).view(h, w)[first :: self.stride, first :: self.stride]
        masks = tokens[:, numbers.flatten()] @ tokens.transpose(1, 2) > self.tau
        areas = masks.sum(2)
        masks = masks & (areas >= self.min_patches)[..., None]
        order = masks.sum(2).argsort(dim=1, stable=True)
        return masks.gather(1, order[..., None].expand_as(masks))

    def _background(
        self, masks: Bool[Tensor, "batch seeds patches"], grid_hw: tuple[int, int]
    ) -> tuple[Bool[Tensor, "batch patches"], Float32[Tensor, "batch patches"]]:
        """Where the candidates for the background agree, and their share for each patch."""
        grids = masks.view(*masks.shape[:2], *grid_hw).float()
        sides = torch.stack([grids[:, :, 0], grids[:, :, -1]], 2).mean(3) > self.side_share
        others = torch.stack([grids[..., 0], grids[..., -1]], 2).mean(3) > self.side_share
        is_candidate = (torch.cat([sides, others], 2).sum(2) >= 2)[..., None]
        votes = (masks & is_candidate).sum(1) / is_candidate.sum(1).clamp(min=1)
        return votes > self.background_votes, votes

    def _foreground(
        self,
        masks: Bool[Tensor, "batch seeds patches"],
        tokens: Float32[Tensor, "batch patches dim"],
        background: Bool[Tensor, "batch patches"],
    ) -> Bool[Tensor, "batch seeds patches"]:
        """Masks that add patches outside the background and do not look like it; the others become empty."""
        means = mask_means(masks, tokens)
        similarity = (means * mask_means(background[:, None], tokens)).sum(2)
        is_unlike = similarity < self.max_background_similarity
        covered = torch.zeros_like(background)
        kept = torch.zeros_like(masks)
        for number in (is_unlike & masks.any(2)).any(0).nonzero().flatten().tolist():
            new = masks[:, number] & ~covered
            count = new.sum(1)
            in_background = (new & background).sum(1) / count.clamp(min=1)
            keep = is_unlike[:, number] & (count > 0) & (in_background < self.max_background)
            kept[:, number] = masks[:, number] & keep[:, None]
            covered = covered | kept[:, number]
        return kept

    def _merge(
        self, masks: Bool[Tensor, "batch seeds patches"], tokens: Float32[Tensor, "batch patches dim"]
    ) -> tuple[Bool[Tensor, "batch groups patches"], Float32[Tensor, "batch groups"]]:
        """From the largest mask down, each is merged with the group that holds most of it, or begins its own.

        Returns:
            The groups, and the number of seeds of each.
        """
        batch, _, patches = masks.shape
        areas = masks.sum(2)
        numbers = (areas > 0).any(0).nonzero().flatten().tolist()[::-1]
        most = int((areas > 0).sum(1).max()) if numbers else 0
        means = F.normalize(mask_means(masks, tokens), dim=2)
        groups = tokens.new_zeros(batch, most, patches)  # of 0 and 1, so that products count
        sums = tokens.new_zeros(batch, most, tokens.shape[2])
        seeds = tokens.new_zeros(batch, most)
        used = seeds.new_zeros(batch, dtype=torch.int64)
        images = torch.arange(batch, device=masks.device)
        for done, number in enumerate(numbers):
            mask, area = masks[:, number].float(), areas[:, number]
            exists = area > 0
            begun = max(1, min(done, most))  # groups that any image can have
            share = (groups[:, :begun] @ mask[..., None])[..., 0] / area.clamp(min=1)[:, None]
            alike = (F.normalize(sums[:, :begun], dim=2) * means[:, number, None]).sum(2) >= self.merge_similarity
            fits = (share > self.merge_overlap) | ((share > self.merge_overlap_alike) & alike)
            best = torch.where(fits, share, -1.0).argmax(1)
            has_group = fits.any(1)
            target = torch.where(has_group, best, used.clamp(max=most - 1))
            groups[images, target] = torch.maximum(groups[images, target], mask)
            sums[images, target] += means[:, number] * (area * exists)[:, None]
            seeds[images, target] += exists.float()
            used = used + (exists & ~has_group)
        return groups.bool(), seeds
