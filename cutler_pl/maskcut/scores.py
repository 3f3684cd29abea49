"""A score per mask, from its generator, the refinement's agreement and the size: a heuristic of this project."""

from jaxtyping import Float64
from torch import Tensor

_SPECK_SHARE = 0.02


def cut_scores(ncut_values: Float64[Tensor, "*batch"]) -> Float64[Tensor, "*batch"]:
    """Clarity of cuts from 0 to 1: 1 - λ₂, 1 where object and rest are two components, 0 for noise."""
    return 1.0 - ncut_values.clamp(0.0, 1.0)


def mask_score(score: float, agreement: float, area_share: float) -> float:
    """Confidence in a mask from 0 to 1, the product of three factors.

    Args:
        score: Of the generator, such as the clarity of the cut.
        agreement: IoU of the mask before and after the refinement: the image's edges support it.
        area_share: Share of the image: masks below 2 % are often specks, masks of most of it are background.
    """
    size = min(1.0, area_share / _SPECK_SHARE) ** 0.5 * (1.0 - area_share)
    return float(score * agreement * size)
