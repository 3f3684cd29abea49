import numpy as np
import pytest
import torch
from PIL import Image

from cutler_pl.models.resize import resize_by_interpolation, resize_image, resized_size_hw


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((100, 100), (800, 800)),
        ((300, 1000), (400, 1333)),
        ((1000, 300), (1333, 400)),
        ((5184, 3456), (1200, 800)),
        ((2, 4000), (1, 1333)),
    ],
)
def test_shortest_side_800_unless_the_longest_passes_1333(size_hw, expected):
    assert resized_size_hw(size_hw, shortest=800, longest=1333) == expected


@pytest.mark.parametrize(("size_hw", "target"), [((40, 60), (80, 120)), ((90, 70), (31, 24)), ((33, 50), (33, 80))])
def test_cpu_pixels_are_pillows(size_hw, target):
    image = torch.randint(0, 256, (3, *size_hw), dtype=torch.uint8)
    pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(target[::-1], Image.Resampling.BILINEAR)
    assert np.array_equal(resize_image(image, target).permute(1, 2, 0).numpy(), np.asarray(pillow))


@pytest.mark.parametrize(("size_hw", "target"), [((40, 60), (80, 120)), ((190, 170), (61, 54)), ((33, 50), (33, 80))])
def test_interpolation_of_other_devices_stays_within_one_of_pillow(size_hw, target):
    image = torch.randint(0, 256, (3, *size_hw), dtype=torch.uint8)
    difference = resize_by_interpolation(image, target).int() - resize_image(image, target).int()
    assert difference.abs().max() <= 1
    assert (difference != 0).float().mean() < 0.02


def test_images_of_the_right_size_are_left_alone():
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    assert resize_image(image, (20, 30)) is image
