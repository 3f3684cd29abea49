from pathlib import Path

import numpy as np
import pytest
import small_sets
import torch

from cutler_pl.errors import ConfigError
from cutler_pl.images import read_image
from cutler_pl.maskcut import MaskCutParams, build_feature_extractor, maskcut

# channels: Lab means, Lab deviations, Lab surrounds, gradients in 4 orientations, y, x
WEIGHT = [1.2] * 3 + [0.5] * 3 + [1.0] * 3 + [0.5] * 4 + [1.2] * 2


@pytest.fixture(scope="module")
def describe():
    return build_feature_extractor("patch_descriptors")


def test_fifteen_numbers_per_cell(describe) -> None:
    features = describe(torch.rand(2, 3, 40, 64))
    assert features.shape == (2, 15, 5, 8)
    assert (describe.patch_size, describe.dim) == (8, 15)


def test_channels_standardised_and_weighted(describe) -> None:
    features = describe(torch.rand(1, 3, 80, 96))[0].flatten(1)
    torch.testing.assert_close(features.mean(1), torch.zeros(15), rtol=0, atol=1e-5)
    torch.testing.assert_close(features.std(1, unbiased=False), torch.tensor(WEIGHT), rtol=1e-4, atol=0)


def test_grey_step_changes_lightness_only(describe) -> None:
    image = torch.full((1, 3, 32, 64), 0.2)
    image[..., 32:] = 0.8
    features = describe(image)[0]
    # half of the cells lie one deviation below the mean, half above
    torch.testing.assert_close(features[0, :, :4], torch.full((4, 4), -1.2), rtol=0, atol=1e-4)
    torch.testing.assert_close(features[0, :, 4:], torch.full((4, 4), 1.2), rtol=0, atol=1e-4)
    assert features[1:3].abs().max() < 0.1  # a and b: grey has none


def test_position_of_cell(describe) -> None:
    y, x = describe(torch.rand(1, 3, 24, 40))[0, 13:]
    assert (y.diff(dim=0) > 0).all()
    assert (y == y[:, :1]).all()
    assert (x.diff(dim=1) > 0).all()
    assert (x == x[:1]).all()


@pytest.mark.parametrize(("axis", "orientation"), [(3, 0), (2, 2)])
def test_stripes_have_one_orientation(describe, axis: int, orientation: int) -> None:
    # vertical stripes in the left half: their gradients point along x, orientation 0; horizontal ones, 2
    image = torch.full((1, 3, 64, 128), 0.5)
    stripes = (torch.arange(64) // 4 % 2).float()
    image[..., :64] = stripes.view(1, 1, 1, 64) if axis == 3 else stripes.view(1, 1, 64, 1)
    gradients = describe(image)[0, 9:13]
    striped, plain = gradients[:, 1:-1, 1:6].mean((1, 2)), gradients[:, 1:-1, 10:].mean((1, 2))
    assert striped[orientation] > 0.4
    assert plain[orientation] < -0.4


def test_constant_image_has_position_only(describe) -> None:
    features = describe(torch.full((1, 3, 32, 32), 0.37))[0]
    assert features[:13].abs().max() < 0.02
    assert features.isfinite().all()


def test_batch_equals_images_alone(describe) -> None:
    images = torch.rand(3, 3, 40, 48)
    alone = torch.cat([describe(image[None]) for image in images])
    torch.testing.assert_close(describe(images), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (8, 80), (16, 8)])
def test_small_grids_work(describe, size: tuple[int, int]) -> None:
    assert describe(torch.rand(1, 3, *size)).isfinite().all()


def test_refuse_side_not_multiple_of_eight(describe) -> None:
    with pytest.raises(ConfigError, match="30×32 pixels cannot be cut in patches of 8"):
        describe(torch.rand(1, 3, 30, 32))


def test_refuse_weights() -> None:
    with pytest.raises(ConfigError, match=r"features\.weights is set, but patch_descriptors has no weights"):
        build_feature_extractor("patch_descriptors", weights="file.pth")


@pytest.mark.real_data
def test_find_object_before_background(describe, data_dir: Path) -> None:
    """A zebra's body, and grass to the right of it; in the sample image a suit, and the wall behind it."""
    name, body = ("25", np.s_[18:27, 4:18]) if small_sets.are_made(data_dir) else ("34", np.s_[4:12, 2:16])
    image = torch.from_numpy(read_image(data_dir / f"coco_mini/images/{name:0>12}.jpg")).permute(2, 0, 1)
    square = torch.nn.functional.interpolate(image[None] / 255, (240, 240), mode="bilinear", antialias=True)
    mask = maskcut(describe(square.clamp(0, 1)), MaskCutParams(tau=0.5, num_masks=1)).masks[0, 0]
    assert mask[body].float().mean() > 0.9
    assert mask[:, 24:].float().mean() < 0.1
