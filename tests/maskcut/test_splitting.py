"""Splitting of masks that touching objects share."""

import numpy as np
import pytest
from scipy import ndimage

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.params import AnnotationParams, WatershedParams
from cutler_pl.maskcut.splitting import WatershedSplitter, build_splitter

SIDE, GRID = 96, 12
SQUARE = (1.0, 1.0)


def disc(y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def one_texture() -> np.ndarray:
    features = np.zeros((2, GRID, GRID), dtype=np.float32)
    features[0] = 1
    return features


def left_and_right() -> np.ndarray:
    """Features of the left half and of the right half are orthogonal."""
    features = np.zeros((2, GRID, GRID), dtype=np.float32)
    features[0, :, : GRID // 2] = 1
    features[1, :, GRID // 2 :] = 1
    return features


def split(mask: np.ndarray, features: np.ndarray, **params: float) -> list[np.ndarray]:
    return WatershedSplitter(WatershedParams(**params))(mask, features, SQUARE)


def two_discs(gap: float) -> np.ndarray:
    return disc(48, 48 - gap / 2, 20) | disc(48, 48 + gap / 2, 20)


def test_split_touching_discs_of_one_texture() -> None:
    mask = two_discs(36)
    left, right = sorted(split(mask, one_texture()), key=lambda part: np.nonzero(part)[1].mean())
    np.testing.assert_array_equal(left | right, mask)
    assert not (left & right).any()
    for part, x in ((left, 30), (right, 66)):
        whole = disc(48, x, 20)
        assert (part & whole).sum() / (part | whole).sum() > 0.95


def test_discs_of_two_textures_stay() -> None:
    mask = two_discs(36)
    (whole,) = split(mask, left_and_right())
    np.testing.assert_array_equal(whole, mask)
    assert len(split(mask, left_and_right(), min_similarity=-1.0)) == 2


def test_neck_is_measured_against_radius() -> None:
    """Discs of radius 20 whose centres are 32 apart have a chord of 2·√(20² − 16²) = 24: a neck of 0.6."""
    assert len(split(two_discs(32), one_texture(), max_neck=0.55)) == 1
    assert len(split(two_discs(32), one_texture(), max_neck=0.65)) == 2


def test_neck_is_measured_in_pixels_of_the_image() -> None:
    """Circles of an image that is twice as wide as high are ellipses in the square; their necks stay what they are."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    squeezed = [(rows - 48) ** 2 + (2 * (columns - x)) ** 2 <= 20**2 for x in (40, 56)]
    for max_neck, parts in ((0.55, 1), (0.65, 2)):
        splitter = WatershedSplitter(WatershedParams(max_neck=max_neck))
        assert len(splitter(squeezed[0] | squeezed[1], one_texture(), (1.0, 2.0))) == parts


@pytest.mark.parametrize("name", ["bar", "ellipse", "disc", "noisy bar", "full"])
def test_one_object_stays_whole(name: str) -> None:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    rng = np.random.default_rng(0)
    masks = {
        "bar": (abs(rows - 48) < 8) & (abs(columns - 48) < 40),
        "ellipse": ((rows - 48) / 14) ** 2 + ((columns - 48) / 44) ** 2 <= 1,
        "disc": disc(48, 48, 30),
        "noisy bar": (abs(rows - 48) < 10 + rng.integers(-2, 3, (1, SIDE))) & (abs(columns - 48) < 40),
        "full": np.ones((SIDE, SIDE), bool),
    }
    (whole,) = split(masks[name], one_texture())
    np.testing.assert_array_equal(whole, masks[name])


def test_sliver_stays_with_its_object() -> None:
    mask = disc(48, 40, 24) | disc(48, 69, 6)
    assert len(split(mask, one_texture())) == 1
    assert len(split(mask, one_texture(), min_part=0.02)) == 2


def test_row_of_discs_is_split_at_each_neck() -> None:
    mask = disc(48, 18, 14) | disc(48, 44, 14) | disc(48, 70, 14)
    parts = split(mask, one_texture())
    assert len(parts) == 3
    assert sum(part.sum() for part in parts) == mask.sum()


def test_components_are_parts_without_a_neck() -> None:
    mask = disc(30, 24, 16) | disc(66, 70, 16)
    mask[90, 5] = True  # a speck
    parts = split(mask, one_texture())
    assert len(parts) == 2
    assert sum(part.sum() for part in parts) == mask.sum()
    assert len(split(mask, left_and_right())) == 1


@pytest.mark.parametrize("seed", range(8))
def test_parts_make_up_the_mask(seed: int) -> None:
    """Also where it has many small components that touch at corners only."""
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), seed / 2) > 0
    parts = split(mask, rng.normal(size=(3, GRID, GRID)).astype(np.float32), min_similarity=-1.0, min_part=0.01)
    np.testing.assert_array_equal(np.sum(parts, axis=0), mask)


def test_empty_and_single_pixel_stay() -> None:
    pixel = np.zeros((SIDE, SIDE), bool)
    for mask in (pixel.copy(), pixel):
        (whole,) = split(mask, one_texture())
        np.testing.assert_array_equal(whole, mask)
        pixel[3, 4] = True


def test_no_split_by_default() -> None:
    mask = two_discs(36)
    splitter = build_splitter(AnnotationParams())
    assert not splitter.needs_features
    (whole,) = splitter(mask, None, SQUARE)
    assert whole is mask


def test_refuse_neck_of_zero() -> None:
    with pytest.raises(ConfigError, match=r"annotation\.watershed\.max_neck=0"):
        WatershedParams(max_neck=0.0)
