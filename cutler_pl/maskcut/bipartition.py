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
    corner_rule: CornerRule = "original",
) -> Bipartition:
    """Split a patch grid in object and rest.

    Args:
        vector: Second generalised eigenvector, sign as LAPACK gives it.
        eigenvalue: Its eigenvalue λ₂ in 0..2.
        blank: Patches without any edge in the graph.
        corner_rule: As in `MaskCutParams`.

    Returns:
        The cut; its mask is empty when the vector is constant.
    """
    seed = int(np.abs(vector).argmax())
    turned = corner_rule == "invariant" and vector.flat[seed] < 0
    if turned:
        vector = -vector
    side = _above_mean(vector, eigenvalue, blank)
    corners = int(side[[0, 0, -1, -1], [0, -1, 0, -1]].sum())
    if corners >= _BACKGROUND_CORNERS or not side.flat[seed]:
        vector, side, turned = -vector, ~side, not turned
    seed = int(vector.argmax())
    return Bipartition(_component(side, seed), vector, seed, corners, turned)


def overlap(mask: Bool[np.ndarray, "h w"], previous: Bool[np.ndarray, "h w"]) -> float:
    """IoU of two masks, in float32 as the original compares it; 0 where both are empty."""
    union = np.float32((mask | previous).sum())
    return float(np.float32((mask & previous).sum()) / union) if union else 0.0


def is_dropped(mask: Bool[np.ndarray, "h w"], previous: Bool[np.ndarray, "h w"] | None, params: MaskCutParams) -> bool:
    """Whether a round's mask repeats the mask the previous round kept, or is too small; never in the first round."""
    if previous is None:
        return not mask.any()
    return overlap(mask, previous) > params.max_overlap or mask.sum() <= params.min_area * mask.size


def remove_overlap(masks: Bool[np.ndarray, "rounds height width"]) -> Bool[np.ndarray, "rounds height width"]:
    """Take from each mask what earlier ones of the image cover: the first to find a patch has it."""
    earlier = np.cumsum(masks, axis=0) - masks
    return masks & (earlier == 0)


def _above_mean(
    vector: Float64[np.ndarray, "h w"], eigenvalue: float, blank: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """Patches above the mean.

    For blank patches the eigenvalue equation gives v = mean / (1 - λ) exactly, within λ of the mean: too close to
    compare numbers, but the sign of the difference, mean · λ / (1 - λ), is known.
    """
    mean = vector.sum() / vector.size
    return np.where(blank, (mean > 0) == (eigenvalue < 1), vector > mean)


def _component(side: Bool[np.ndarray, "h w"], seed: int) -> Bool[np.ndarray, "h w"]:
    labels, _ = scipy.ndimage.label(side)
    return (labels == labels.flat[seed]) & side
