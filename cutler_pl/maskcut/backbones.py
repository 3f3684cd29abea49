"""The feature extractors of a run: one, or several on images of one fixed size."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.features import FeatureExtractor, build_feature_extractor


class AtSide(nn.Module):
    """An extractor that sees images resized to a multiple of its patch size: 476 pixels of 480 for patches of 14.

    Args:
        extractor: Computes the features.
        side: Height and width that it sees.
    """

    def __init__(self, extractor: FeatureExtractor, side: int) -> None:
        super().__init__()
        self.extractor = extractor
        self.side = side

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim h w"]:
        """Features of the resized images."""
        size = (self.side, self.side)
        return self.extractor(F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False))


def build_extractors(
    settings: Sequence[Mapping[str, Any]],
    *,
    fixed_size: int,
    device: str | torch.device = "cpu",
    build: Callable[..., FeatureExtractor] = build_feature_extractor,
) -> dict[str, FeatureExtractor | AtSide]:
    """The extractors of several backbones, by name.

    Args:
        settings: Arguments of `build_feature_extractor` for each.
        fixed_size: Side of the images; each extractor sees the largest multiple of its patch size in it.
        device: Where the extractors live.
        build: Called with the arguments of each and the device.

    Raises:
        ConfigError: A backbone stands twice, or its patches are larger than the images.
        CheckpointError: The weights of one cannot be had.
    """
    extractors: dict[str, FeatureExtractor | AtSide] = {}
    for arguments in settings:
        extractor = build(**arguments, device=device)
        cells = arguments.get("patch_size")
        name = str(arguments["name"]) if cells is None else f"{arguments['name']}/{cells}"
        if name in extractors:
            raise ConfigError(f"maskcut.backbones names {name} twice; its votes would count twice: leave one out")
        side = fixed_size - fixed_size % extractor.patch_size
        if not side:
            raise ConfigError(f"maskcut.fixed_size={fixed_size} is smaller than the patches of {name}")
        extractors[name] = extractor if side == fixed_size else AtSide(extractor, side)
    return extractors
