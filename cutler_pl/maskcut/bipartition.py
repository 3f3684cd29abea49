"""From an eigenvector to the object of a round: split at the mean, choose the object's side, keep one component.

CutLER, Section 3.2, after TokenCut: the patches above the mean of the eigenvector are one side; the side with the
seed, the entry of largest absolute value, is the object, unless the corners of the image speak against it; of that
side the connected part that holds the seed is kept.
"""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float64

from cutler_pl.maskcut.params import CornerRule, MaskCutParams

_BACKGROUND_CORNERS = 3
_EQUAL = 1e-12


class Bipartition(NamedTuple):
    """One cut of a patch grid.

    Attributes:
        mask: The object.
        vector: The eigenvector, turned so that the object's side is the positive one.
        seed: Row-major patch from which the object was grown.
        corners: Corners of the grid on the side that was positive at first.
        turned: Whether the eigenvector's sign was changed.
    """

    mask: Bool[np.ndarray, "h w"]
    vector: Float64[np.ndarray, "h w"]
    seed: int
    corners: int
    turned: bool


def bipartition(
    vector: Float64[np.ndarray, "h w"],
    eigenvalue: float,
    *,
    blank: Bool[np.ndarray, "h w"],
    previous: Bool[np.ndarray, "h w"] | None = None,
    corner_rule: CornerRule = "original",
) -> Bipartition:
    """Split a patch grid in object and rest.

    Args:
        vector: Second generalised eigenvector, sign as LAPACK gives it.
        eigenvalue: Its eigenvalue λ₂ in 0..2.
        blank: Patches without any edge in the graph.
        previous: Mask of the round before; it matters only where two parts are otherwise equal.
        corner_rule: As in `MaskCutParams`.

    Returns:
        The cut; its mask is empty when the vector is constant.
    """
    seed = int(np.abs(vector).argmax())
    turned = corner_rule == "invariant" and bool(vector.flat[seed] < 0)
    if turned:
        vector = -vector
    side = _above_mean(vector, eigenvalue, blank)
    if side.all() or not side.any():
        return Bipartition(np.zeros_like(side), vector, seed, corners=0, turned=turned)
    corners = int(side[[0, 0, -1, -1], [0, -1, 0, -1]].sum())
    if corners >= _BACKGROUND_CORNERS or not side.flat[seed]:
        vector, side, turned = -vector, ~side, not turned
    mask, seed = _component(side, vector, previous)
    return Bipartition(mask, vector, seed, corners, turned)


def overlap(mask: Bool[np.ndarray, "h w"], previous: Bool[np.ndarray, "h w"]) -> float:
    """IoU of two masks, in float32 as the original compares it; 0 where both are empty."""
    union = np.float32((mask | previous).sum())
    return float(np.float32((mask & previous).sum()) / union) if union else 0.0


def is_dropped(mask: Bool[np.ndarray, "h w"], previous: Bool[np.ndarray, "h w"], params: MaskCutParams) -> bool:
    """Whether the mask of a round after the first repeats what the round before kept, or is too small."""
    return overlap(mask, previous) > params.max_overlap or bool(mask.sum() <= params.min_area * mask.size)


def _above_mean(
    vector: Float64[np.ndarray, "h w"], eigenvalue: float, blank: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """Patches above the mean.

    For blank patches the eigenvalue equation gives v = mean / (1 - λ) exactly, within λ of the mean: too close to
    compare numbers, but the sign of the difference, mean · λ / (1 - λ), is known.
    """
    mean = vector.sum() / vector.size
    side: Bool[np.ndarray, "h w"] = vector > mean
    side[blank] = (mean > 0) == (eigenvalue < 1)
    return side


def _component(
    side: Bool[np.ndarray, "h w"], vector: Float64[np.ndarray, "h w"], previous: Bool[np.ndarray, "h w"] | None
) -> tuple[Bool[np.ndarray, "h w"], int]:
    """The connected part of a side that holds the largest entry of the vector, and where that entry is.

    Patches with the same edges, such as all blank ones, have the same entry, so that in the original the rounding
    of its linear algebra library chose between them. Here, among parts with equal entries, the one with the most
    patches on the border of the image wins, then the largest, then the one found the round before: what the
    original happened to take in every recorded case.
    """
    parts, count = scipy.ndimage.label(side)
    equal = side & (vector >= vector.max() - _EQUAL * np.abs(vector).max())
    border = np.ones_like(side)
    border[1:-1, 1:-1] = False
    where = [border, side, np.zeros_like(side) if previous is None else previous]
    sizes = np.array([np.bincount(parts[places], minlength=count + 1) for places in where])
    mask: Bool[np.ndarray, "h w"] = parts == max(np.unique(parts[equal]), key=lambda part: tuple(sizes[:, part]))
    return mask, int(np.flatnonzero(equal & mask)[0])
