"""A score per mask, from the cut's value, the refinement's agreement and the size: a heuristic of this project."""

_SPECK_SHARE = 0.02


def mask_score(ncut_value: float, agreement: float, area_share: float) -> float:
    """Confidence in a mask from 0 to 1, the product of three factors.

    Args:
        ncut_value: λ₂ of the cut, 0 where object and rest are two components; 1 and more is noise.
        agreement: IoU of the mask before and after the refinement: the image's edges support it.
        area_share: Share of the image: masks below 2 % are often specks, masks of most of it are background.
    """
    clarity = 1.0 - min(max(ncut_value, 0.0), 1.0)
    size = min(1.0, area_share / _SPECK_SHARE) ** 0.5 * (1.0 - area_share)
    return float(clarity * agreement * size)
