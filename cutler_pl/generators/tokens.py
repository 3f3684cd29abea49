"""Patch features as unit vectors, and masks compared by them."""

import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from cutler_pl.errors import InputError

Tokens = Float32[Tensor, "batch patches dim"]


def unit_tokens(features: Float[Tensor, "batch dim h w"]) -> Float32[Tensor, "batch patches dim"]:
    """Features of each patch scaled to length 1, in row-major order.

    Raises:
        InputError: A feature is NaN or infinite.
    """
    if not features.isfinite().all():
        bad = (~features.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        raise InputError(
            f"features of the images {bad} of the batch hold NaN or infinity; check the extractor's weights"
        )
    return F.normalize(features.float().flatten(2).transpose(1, 2), dim=2)


def mask_means(
    masks: Bool[Tensor, "*batch masks patches"], tokens: Float32[Tensor, "*batch patches dim"]
) -> Float32[Tensor, "*batch masks dim"]:
    """Mean token of each mask; zero for an empty one."""
    inside = masks.float()
    return inside @ tokens / inside.sum(-1, keepdim=True).clamp(min=1)


def contrast(
    masks: Bool[Tensor, "masks h w"], tokens: Float32[Tensor, "patches dim"], *, reach: int = 2
) -> Float32[Tensor, " masks"]:
    """How far the patches of masks differ from those around them, from 0 to 1: a heuristic score of this project.

    The mean cosine of a mask's patches with its mean token, less that of the patches at most `reach` beyond it.
    """
    if not len(masks):
        return tokens.new_zeros(0)
    window = 2 * reach + 1
    grown = F.max_pool2d(masks[:, None].float(), window, stride=1, padding=reach)[:, 0].bool()
    inside, around = masks.flatten(1), (grown & ~masks).flatten(1)
    cosines = F.normalize(mask_means(inside, tokens), dim=1) @ tokens.T
    means = [(cosines * part).sum(1) / part.sum(1).clamp(min=1) for part in (inside, around)]
    return (means[0] - means[1]).clamp(0, 1)
