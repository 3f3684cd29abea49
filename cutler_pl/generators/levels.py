"""From nested partitions of a batch to the candidates of each image."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from cutler_pl.generators.regions import Regions
from cutler_pl.generators.tokens import contrast
from cutler_pl.maskcut.generator import Candidates


class Level(NamedTuple):
    """A partition, and the similarity down to which its regions were merged."""

    similarity: float
    regions: Regions


class Kept(NamedTuple):
    """Regions of one image that become candidates; one that several levels share stands once."""

    masks: Bool[Tensor, "masks h w"]
    levels: list[list[float]]
    """Similarities of the levels that have the region."""


def image_candidates(
    levels: Sequence[Level], tokens: Float32[Tensor, "batch patches dim"], *, min_patches: int, max_corners: int
) -> list[Candidates]:
    """The regions of all levels as candidates, the most stable and distinct first.

    The score is the contrast with what is around times the share of the levels that have the region, a heuristic of
    this project.

    Args:
        levels: From small regions to large ones; each region of a level is a union of regions of the one before.
        tokens: Unit tokens.
        min_patches: Regions of fewer patches are left out.
        max_corners: Regions with more of the image's corners are left out, as background.
    """
    kept = _kept(levels, min_patches=min_patches, max_corners=max_corners)
    return [
        Candidates(
            masks=one.masks,
            scores=contrast(one.masks, tokens[i]) * _stability(one, len(levels)),
            provenance=[{"levels": found} for found in one.levels],
        )
        for i, one in enumerate(kept)
    ]


def _stability(kept: Kept, num_levels: int) -> Float32[Tensor, " masks"]:
    counts = torch.tensor([len(found) for found in kept.levels], dtype=torch.float32, device=kept.masks.device)
    return counts / num_levels


def _kept(levels: Sequence[Level], *, min_patches: int, max_corners: int) -> list[Kept]:
    batch, h, w = levels[0].regions.labels.shape
    found: list[dict[tuple[int, int], tuple[int, int, list[float]]]] = [{} for _ in range(batch)]
    for number, (similarity, regions) in enumerate(levels):
        sizes, firsts = regions.sizes(), regions.first_patches()
        corners = regions.labels[:, [0, 0, -1, -1], [0, -1, 0, -1]].flatten()
        in_corners = torch.zeros_like(sizes).index_add_(0, corners, torch.ones_like(corners))
        chosen = ((sizes >= min_patches) & (in_corners <= max_corners)).nonzero().flatten()
        columns = (chosen, firsts[chosen], sizes[chosen])
        for region, first, size in torch.stack(columns, 1).tolist():
            # regions of nested partitions are equal where their first patches and sizes are
            entry = found[first // (h * w)].setdefault((first, size), (number, region, []))
            entry[2].append(similarity)
    return [_masks_of(levels, [*one.values()], (h, w)) for one in found]


def _masks_of(
    levels: Sequence[Level], entries: Sequence[tuple[int, int, list[float]]], grid_hw: tuple[int, int]
) -> Kept:
    masks = []
    for number, (_, regions) in enumerate(levels):
        chosen = [region for level, region, _ in entries if level == number]
        masks.append(regions.masks(torch.tensor(chosen, dtype=torch.int64, device=regions.labels.device)))
    return Kept(torch.cat(masks), [found for _, _, found in entries])


def parents(masks: Bool[Tensor, "masks h w"], *, min_cover: float) -> list[int | None]:
    """For each mask the number, from 1, of the smallest larger mask that covers this share of it, or None."""
    flat = masks.flatten(1).float()
    sizes = flat.sum(1)
    covers = (flat @ flat.T >= min_cover * sizes[:, None]) & (sizes[None] > sizes[:, None])
    size_of = torch.where(covers, sizes[None], torch.inf)
    nearest = size_of.argmin(1).tolist() if len(masks) else []
    return [number + 1 if has else None for number, has in zip(nearest, covers.any(1).tolist(), strict=True)]
