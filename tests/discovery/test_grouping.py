"""What can be grouped at all."""

from pathlib import Path

import pytest
import torch

from cutler_pl.discovery import discover
from cutler_pl.errors import ConfigError


class ChosenHeads:
    patch_size, dim = 8, None

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("nothing is computed")


def test_refuse_features_of_other_heads_per_image(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"heads=object takes other heads in each image, .* leave it out"):
        discover(tmp_path / "a.json", tmp_path, tmp_path / "out", extractor=ChosenHeads(), fixed_size=64)
