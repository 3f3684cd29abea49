"""From an eigenvector to an object: the side of the cut, and its connected component (CutLER, Section 3.2).

Rules of the original: a patch is on the positive side when its entry exceeds the mean; the seed is the patch with the
largest magnitude; a side with three or four corners of the image is background; of the object's side only the
4-connected component of the seed is kept. Everything is batched and runs on the vectors' device.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from cutler_pl.maskcut.params import CornerRule, MaskCutParams
from cutler_pl.ops.components import label_components
from cutler_pl.ops.masks import paired_iou

_BACKGROUND_CORNERS = 3
_EQUAL = 1e-12


@dataclass(frozen=True)
class Bipartition:
    """Cuts of a batch of patch grids.

    Attributes:
        masks: The objects; empty where the vector is constant.
        vectors: The eigenvectors, positive on the object's side.
    """

    masks: Bool[Tensor, "batch h w"]
    vectors: Float64[Tensor, "batch h w"]


def bipartition(
    vectors: Float64[Tensor, "batch h w"],
    eigenvalues: Float64[Tensor, " batch"],
    *,
    blank: Bool[Tensor, "batch h w"],
    previous: Bool[Tensor, "batch h w"],
    corner_rule: CornerRule = "original",
) -> Bipartition:
    """Split patch grids into object and rest.

    Args:
        vectors: Second generalised eigenvectors with LAPACK's sign.
        eigenvalues: Their eigenvalues λ₂ in 0..2.
        blank: Patches without any edge in the graph.
        previous: Masks of the previous round; they only decide between components that are otherwise equal.
        corner_rule: As in `MaskCutParams`.
    """
    strongest = vectors.flatten(1).abs().argmax(1)
    if corner_rule == "invariant":
        vectors = _flip_sign(vectors, _gather(vectors, strongest) < 0)
    side = _above_mean(vectors, eigenvalues, blank)
    constant = side.flatten(1).all(1) | ~side.flatten(1).any(1)
    corners = side[:, [0, 0, -1, -1], [0, -1, 0, -1]].sum(1)
    flip = ((corners >= _BACKGROUND_CORNERS) | ~_gather(side, strongest)) & ~constant
    vectors, side = _flip_sign(vectors, flip), side ^ flip[:, None, None]
    return Bipartition(_seed_component(side & ~constant[:, None, None], vectors, previous), vectors)


def is_dropped(
    masks: Bool[Tensor, "batch h w"], previous: Bool[Tensor, "batch h w"], params: MaskCutParams
) -> Bool[Tensor, " batch"]:
    """Whether masks after the first round overlap the previous round's or are too small."""
    pixels = masks.shape[1] * masks.shape[2]
    areas = masks.flatten(1).sum(1)
    iou = paired_iou(masks, previous).float().double()  # the original compares it in float32
    return (iou > params.max_overlap) | (areas.double() <= params.min_area * pixels)


def border_share(masks: Bool[Tensor, "batch h w"]) -> Float32[Tensor, " batch"]:
    """Share of the grid's border patches that each mask covers."""
    border = _border(masks)
    return (masks & border).flatten(1).sum(1).float() / border[:1].sum().clamp(min=1)


def _border(grids: Bool[Tensor, "batch h w"]) -> Bool[Tensor, "batch h w"]:
    border = torch.ones_like(grids)
    border[:, 1:-1, 1:-1] = False
    return border


def _gather(grids: Tensor, patches: Int64[Tensor, " batch"]) -> Tensor:
    return grids.flatten(1).gather(1, patches[:, None])[:, 0]


def _flip_sign(vectors: Float64[Tensor, "batch h w"], flip: Bool[Tensor, " batch"]) -> Float64[Tensor, "batch h w"]:
    return torch.where(flip[:, None, None], -vectors, vectors)


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


def _seed_component(
    side: Bool[Tensor, "batch h w"], vectors: Float64[Tensor, "batch h w"], previous: Bool[Tensor, "batch h w"]
) -> Bool[Tensor, "batch h w"]:
    """The connected component of each side that holds the largest entry of the vector.

    Patches with the same edges, such as all blank ones, have equal entries; in the original the rounding of its linear
    algebra library chose between them. Here, among components with equal entries, the one with the most border patches
    wins, then the largest, then the one of the previous round: what the original took in every recorded case.
    """
    labels = label_components(side).flatten(1)
    highest = vectors.flatten(1).amax(1, keepdim=True)
    lowest_equal = highest - _EQUAL * vectors.flatten(1).abs().amax(1, keepdim=True)
    equal = (labels >= 0) & (vectors.flatten(1) >= lowest_equal)
    base = labels.shape[1] + 1
    rank = torch.zeros_like(labels)  # border, size and previous as the digits of one number
    for counted in (_border(side), side, previous):
        counts = torch.zeros_like(labels).scatter_add_(1, labels.clamp(min=0), (counted & side).flatten(1).long())
        rank = rank * base + counts.gather(1, labels.clamp(min=0))
    rank = torch.where(equal, rank * base + (base - 1 - labels), torch.full_like(labels, -1))
    chosen = labels.gather(1, rank.argmax(1, keepdim=True))
    return ((labels == chosen) & (labels >= 0)).view_as(side)
