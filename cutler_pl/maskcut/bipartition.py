"""From an eigenvector to an object: which side of the cut, and which connected part of it (CutLER, Section 3.2).

Rules of the original: a patch lies on the positive side when its entry exceeds the mean; the seed is the patch with
the largest entry in magnitude; a side with three or four corners of the image is background; of the object's side only
the connected part that holds the seed is kept. All of it for a batch at once, on the vectors' device.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from cutler_pl.maskcut.params import CornerRule, MaskCutParams
from cutler_pl.ops.components import label_parts

_BACKGROUND_CORNERS = 3
_EQUAL = 1e-12


@dataclass(frozen=True)
class Bipartition:
    """Cuts of a batch of patch grids.

    Attributes:
        masks: The objects.
        vectors: The eigenvectors, turned so that the object's side is the positive one.
        seeds: Row-major patches from which the objects were grown.
        corners: Corners of the grid on the side that was positive at first.
        turned: Whether the eigenvector's sign was changed.
    """

    masks: Bool[Tensor, "batch h w"]
    vectors: Float64[Tensor, "batch h w"]
    seeds: Int64[Tensor, " batch"]
    corners: Int64[Tensor, " batch"]
    turned: Bool[Tensor, " batch"]

    @classmethod
    def nothing(cls, batch: int, grid_hw: tuple[int, int], device: torch.device) -> "Bipartition":
        """Grids that cannot be cut."""
        zeros = torch.zeros(batch, dtype=torch.int64, device=device)
        vectors = torch.zeros(batch, *grid_hw, dtype=torch.float64, device=device)
        return cls(vectors.bool(), vectors, seeds=zeros - 1, corners=zeros, turned=zeros.bool())


def bipartition(
    vectors: Float64[Tensor, "batch h w"],
    eigenvalues: Float64[Tensor, " batch"],
    *,
    blank: Bool[Tensor, "batch h w"],
    previous: Bool[Tensor, "batch h w"] | None = None,
    corner_rule: CornerRule = "original",
) -> Bipartition:
    """Split patch grids in object and rest.

    Args:
        vectors: Second generalised eigenvectors, sign as LAPACK gives it.
        eigenvalues: Their eigenvalues λ₂ in 0..2.
        blank: Patches without any edge in the graph.
        previous: Masks of the round before; they matter only where two parts are otherwise equal.
        corner_rule: As in `MaskCutParams`.

    Returns:
        The cuts; the mask is empty where the vector is constant.
    """
    strongest = vectors.flatten(1).abs().argmax(1)
    turned = torch.zeros_like(strongest, dtype=torch.bool)
    if corner_rule == "invariant":
        turned = _entries(vectors, strongest) < 0
        vectors = _turn(vectors, turned)
    side = _above_mean(vectors, eigenvalues, blank)
    constant = side.flatten(1).all(1) | ~side.flatten(1).any(1)
    corners = side[:, [0, 0, -1, -1], [0, -1, 0, -1]].sum(1)
    turn = ((corners >= _BACKGROUND_CORNERS) | ~_entries(side, strongest)) & ~constant
    vectors, side = _turn(vectors, turn), side ^ turn[:, None, None]
    masks, seeds = _parts_of_the_seed(side & ~constant[:, None, None], vectors, previous)
    return Bipartition(
        masks=masks,
        vectors=vectors,
        seeds=torch.where(constant, strongest, seeds),
        corners=torch.where(constant, torch.zeros_like(corners), corners),
        turned=turned ^ turn,
    )


def overlap(masks: Bool[Tensor, "batch h w"], previous: Bool[Tensor, "batch h w"]) -> Float32[Tensor, " batch"]:
    """IoU of pairs of masks, in float32 as the original compares it; 0 where both are empty."""
    union = (masks | previous).flatten(1).sum(1).float()
    return (masks & previous).flatten(1).sum(1).float() / union.clamp(min=1)


def is_dropped(
    masks: Bool[Tensor, "batch h w"], previous: Bool[Tensor, "batch h w"], params: MaskCutParams
) -> Bool[Tensor, " batch"]:
    """Whether masks of a round after the first repeat what the round before kept, or are too small."""
    pixels = masks.shape[1] * masks.shape[2]
    areas = masks.flatten(1).sum(1)
    return (overlap(masks, previous).double() > params.max_overlap) | (areas.double() <= params.min_area * pixels)


def border_share(masks: Bool[Tensor, "batch h w"]) -> Float32[Tensor, " batch"]:
    """Share of the grid's border patches that each mask covers."""
    border = _border(masks)
    return (masks & border).flatten(1).sum(1).float() / border[:1].sum().clamp(min=1)


def _border(grids: Bool[Tensor, "batch h w"]) -> Bool[Tensor, "batch h w"]:
    border = torch.ones_like(grids)
    border[:, 1:-1, 1:-1] = False
    return border


def _entries(grids: Tensor, places: Int64[Tensor, " batch"]) -> Tensor:
    return grids.flatten(1).gather(1, places[:, None])[:, 0]


def _turn(vectors: Float64[Tensor, "batch h w"], turned: Bool[Tensor, " batch"]) -> Float64[Tensor, "batch h w"]:
    return torch.where(turned[:, None, None], -vectors, vectors)


def _above_mean(
    vectors: Float64[Tensor, "batch h w"], eigenvalues: Float64[Tensor, " batch"], blank: Bool[Tensor, "batch h w"]
) -> Bool[Tensor, "batch h w"]:
    """Patches above the mean.

    For blank patches the eigenvalue equation gives v = mean / (1 - λ) exactly, within λ of the mean: too close to
    compare numbers, but the sign of the difference, mean · λ / (1 - λ), is known.
    """
    means = vectors.flatten(1).mean(1)
    blank_above = (means > 0) == (eigenvalues < 1)
    return torch.where(blank, blank_above[:, None, None], vectors > means[:, None, None])


def _parts_of_the_seed(
    side: Bool[Tensor, "batch h w"], vectors: Float64[Tensor, "batch h w"], previous: Bool[Tensor, "batch h w"] | None
) -> tuple[Bool[Tensor, "batch h w"], Int64[Tensor, " batch"]]:
    """The connected part of each side that holds the largest entry of the vector, and where that entry is.

    Patches with the same edges, such as all blank ones, have the same entry, so that in the original the rounding
    of its linear algebra library chose between them. Here, among parts with equal entries, the one with the most
    patches on the border of the image wins, then the largest, then the one found the round before: what the
    original happened to take in every recorded case.
    """
    labels = label_parts(side).flatten(1)
    highest = vectors.flatten(1).amax(1, keepdim=True)
    lowest_equal = highest - _EQUAL * vectors.flatten(1).abs().amax(1, keepdim=True)
    equal = (labels >= 0) & (vectors.flatten(1) >= lowest_equal)
    base = labels.shape[1] + 1
    rank = torch.zeros_like(labels)  # border, size and previous as the digits of one number
    for places in (_border(side), side, torch.zeros_like(side) if previous is None else previous):
        counts = torch.zeros_like(labels).scatter_add_(1, labels.clamp(min=0), (places & side).flatten(1).long())
        rank = rank * base + counts.gather(1, labels.clamp(min=0))
    rank = torch.where(equal, rank * base + (base - 1 - labels), torch.full_like(labels, -1))
    chosen = labels.gather(1, rank.argmax(1, keepdim=True))
    masks = (labels == chosen) & (labels >= 0)
    seeds = (equal & masks).long().argmax(1)
    return masks.view_as(side), seeds
