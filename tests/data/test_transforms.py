import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.coco.schema import Segmentation
from cutler_pl.data.transforms import (
    TrainTransformParams,
    TransformParams,
    apply_boxes,
    apply_image,
    apply_masks,
    sample_params,
)
from cutler_pl.runtime.seeding import generator

SQUARE = [[2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]]  # x 2..6, y 1..4


def square_mask() -> np.ndarray:
    mask = np.zeros((8, 10), dtype=bool)
    mask[1:4, 2:6] = True
    return mask


def apply_mask(segmentation: Segmentation, size_hw: tuple[int, int], params: TransformParams) -> np.ndarray:
    """Of an object that has pixels."""
    masks, visible = apply_masks([segmentation], size_hw, params)
    assert visible.all()
    return masks[0].numpy()


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


@pytest.mark.golden
def test_training_pixels_equal_inference(golden_dir: Path) -> None:
    """The pixels that the original's detector sees; axis by axis, whatever the order Pillow would choose."""
    image = tensor(np.load(golden_dir / "detector" / "infer_cascade_synth0.npz")["image_uint8_rgb"])
    facts = json.loads((golden_dir / "detector" / "infer_cascade_synth0.json").read_text())
    train = TrainTransformParams(train_sizes=(800,), max_size=1333, flip_probability=0.0)
    params = sample_params((image.shape[1], image.shape[2]), train, generator(0))
    resized = apply_image(image, params)
    assert list(resized.shape[1:]) == facts["resized_hw"]
    assert hashlib.sha256(resized.numpy().tobytes()).hexdigest() == facts["resized_uint8_chw"]["sha256"]


def test_flip_mirrors_image_boxes_and_masks_alike() -> None:
    params = TransformParams((8, 10), flip=True)
    image = torch.from_numpy(np.repeat(square_mask()[None], 3, axis=0).astype(np.uint8))
    assert np.array_equal(apply_image(image, params)[0] > 0, square_mask()[:, ::-1])
    assert apply_boxes(np.array([[2.0, 1.0, 6.0, 4.0]]), (8, 10), params).tolist() == [[4, 1, 8, 4]]
    assert np.array_equal(apply_mask(rle.encode(square_mask()), (8, 10), params), square_mask()[:, ::-1])
    assert np.array_equal(apply_mask(SQUARE, (8, 10), params), square_mask()[:, ::-1])


def test_boxes_are_scaled_and_clipped() -> None:
    boxes = np.array([[-1.0, 1.0, 12.0, 4.0], [2.0, 2.0, 3.0, 3.0]])
    assert apply_boxes(boxes, (8, 10), TransformParams((16, 30))).tolist() == [[0, 2, 30, 8], [6, 4, 9, 6]]
    assert apply_boxes(np.zeros((0, 4)), (8, 10), TransformParams((16, 30))).shape == (0, 4)


def test_polygons_are_rasterised_at_the_new_size() -> None:
    circle = np.stack([50 + 30 * np.cos(np.linspace(0, 6.2, 60)), 50 + 30 * np.sin(np.linspace(0, 6.2, 60))], axis=1)
    mask = apply_mask([circle.ravel().tolist()], (100, 100), TransformParams((400, 400)))
    assert mask.sum() == pytest.approx(np.pi * 120**2, rel=0.01)


@pytest.mark.parametrize("size_hw", [(8, 10), (16, 20), (4, 5), (13, 7), (40, 31)])
def test_masks_resize_as_pillow_nearest(size_hw: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random((8, 10)) < 0.5
    expected = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size_hw[::-1], Image.Resampling.NEAREST)) > 0
    assert np.array_equal(apply_mask(rle.encode(mask), (8, 10), TransformParams(size_hw)), expected)


@pytest.mark.parametrize("flip", [False, True])
def test_vanished_masks_are_left_out(flip: bool) -> None:
    """Of run lengths that fall between the new pixels, of polygons outside the image, and of none at all."""
    speck, corner = np.zeros((2, 8, 10), dtype=bool)
    speck[1, 1] = corner[0, 0] = True
    outside = [[20.0, 1.0, 26.0, 1.0, 26.0, 4.0]]
    given = [rle.encode(speck), SQUARE, outside, rle.encode(corner), rle.encode(square_mask())]
    params = TransformParams((2, 3), flip)
    masks, visible = apply_masks(given, (8, 10), params)
    expected = [apply_mask(segmentation, (8, 10), params) for segmentation in (given[1], given[4])]
    assert visible.tolist() == [False, True, False, False, True]
    assert np.array_equal(masks.numpy(), expected)
    masks, visible = apply_masks([], (8, 10), params)
    assert masks.shape == (0, 2, 3)
    assert visible.shape == (0,)


@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_equal_keys_draw_equal_transforms(seed: int) -> None:
    train = TrainTransformParams(train_sizes=(20, 40, 60), max_size=70, flip_probability=0.5)
    samples = [sample_params((30, 40), train, generator(seed, 3, 7)) for _ in range(2)]
    assert samples[0] == samples[1]
    assert min(samples[0].size_hw) in (20, 40, 53)


def test_sizes_and_flips_are_drawn_evenly() -> None:
    train = TrainTransformParams(train_sizes=(1, 2, 4), max_size=9, flip_probability=0.5)
    samples = [sample_params((10, 10), train, generator(0, 0, i)) for i in range(600)]
    counts = [sum(params.size_hw == (side, side) for params in samples) for side in (1, 2, 4)]
    assert sum(counts) == 600
    assert min(counts) > 150
    assert 240 < sum(params.flip for params in samples) < 360
    never = sample_params((10, 10), replace(train, flip_probability=0.0), generator(0))
    assert not never.flip
