import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cutler_pl.ops.resize import resize_by_axes, resize_by_matrices, resize_image, resized_size_hw


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
def test_shorter_side_800_longer_side_1333(size_hw, expected):
    assert resized_size_hw(size_hw, shortest=800, longest=1333) == expected


@given(height=st.integers(2, 3000), width=st.integers(2, 3000), side=st.integers(1, 1500), cap=st.integers(1, 2000))
def test_sides_stay_within_cap_and_above_zero(height, width, side, cap):
    size_hw = resized_size_hw((height, width), shortest=side, longest=cap)
    assert 1 <= min(size_hw) <= side
    assert max(size_hw) <= cap


@pytest.mark.parametrize(("size_hw", "target"), [((40, 60), (80, 120)), ((90, 70), (31, 24)), ((33, 50), (33, 80))])
def test_cpu_pixels_are_pillows(size_hw, target):
    image = torch.randint(0, 256, (3, *size_hw), dtype=torch.uint8)
    pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(target[::-1], Image.Resampling.BILINEAR)
    assert np.array_equal(resize_image(image, target).permute(1, 2, 0).numpy(), np.asarray(pillow))


@pytest.mark.parametrize(
    ("size_hw", "target"),
    [
        ((40, 60), (80, 120)),
        ((190, 170), (61, 54)),
        ((33, 50), (33, 80)),
        ((90, 50), (31, 50)),
        ((480, 640), (800, 1067)),
    ],
)
def test_arithmetic_of_other_devices_is_pillows(size_hw, target):
    image = torch.randint(0, 256, (3, *size_hw), dtype=torch.uint8)
    assert torch.equal(resize_by_matrices(image, target), resize_image(image, target))


@given(st.tuples(*[st.integers(1, 90)] * 4), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_arithmetic_is_pillows_at_any_size(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, *sizes[:2]), dtype=torch.uint8, generator=generator)
    assert torch.equal(resize_by_matrices(image, sizes[2:]), resize_image(image, sizes[2:]))


def test_keep_image_of_right_size():
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    assert resize_image(image, (20, 30)) is image


@pytest.mark.parametrize(
    ("size_hw", "target", "rows_first"),
    [
        ((50, 40), (30, 60), True),
        ((50, 40), (30, 30), False),
        ((60, 40), (30, 26), True),
        ((40, 50), (60, 30), False),
        ((40, 40), (60, 60), False),
        ((40, 40), (40, 20), False),
        ((40, 40), (20, 40), False),
    ],
)
def test_order_of_axes_is_fixed(size_hw, target, rows_first):
    """Pillow 12 and 13 differ in the first and third case; the recorded masks are those of 13."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    half = (size_hw[1], target[0]) if rows_first else (target[1], size_hw[0])
    expected = image.resize(half, Image.Resampling.BICUBIC).resize(target[::-1], Image.Resampling.BICUBIC)
    assert np.array_equal(resize_by_axes(image, target, Image.Resampling.BICUBIC), expected)
