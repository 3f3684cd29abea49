import numpy as np
import torch

from cutler_pl.coco import rle
from cutler_pl.discovery.mask_features import mask_features


def features() -> torch.Tensor:
    """A 2×2 grid whose patches have the features (1, 0), (0, 1), (0, 2), (3, 0)."""
    return torch.tensor([[[1.0, 0.0], [0.0, 3.0]], [[0.0, 1.0], [2.0, 0.0]]])


def mask(*windows: tuple[slice, slice]) -> np.ndarray:
    drawn = np.zeros((16, 32), dtype=bool)
    for window in windows:
        drawn[window] = True
    return drawn


def compute(*masks: np.ndarray) -> np.ndarray:
    codes = [rle.encode(one) for one in masks]
    return mask_features(features(), codes, np.array([rle.bbox(code) for code in codes]).reshape(-1, 4))


def test_mean_is_weighted_by_coverage() -> None:
    """All of the upper left patch and half of the upper right one: (1, 0) + ½ (0, 1), of length 1."""
    (found,) = compute(mask(np.s_[:8, :24]))
    np.testing.assert_allclose(found, np.array([1, 0.5]) / np.hypot(1, 0.5), rtol=1e-6)


def test_one_row_per_mask() -> None:
    found = compute(mask(np.s_[:8, 16:]), mask(np.s_[8:, :16]), mask(np.s_[8:, 16:]))
    np.testing.assert_allclose(found, [[0, 1], [0, 1], [1, 0]], atol=1e-6)
    assert found.dtype == np.float32


def test_small_mask_takes_patch_at_its_center() -> None:
    large = np.zeros((1600, 3200), dtype=bool)
    large[1001, 3001] = True
    code = rle.encode(large)
    found = mask_features(features(), [code], np.array([rle.bbox(code)]))
    np.testing.assert_allclose(found, [[1, 0]])


def test_many_masks_in_chunks() -> None:
    found = compute(*[mask(np.s_[:8, :16])] * 300)
    assert found.shape == (300, 2)
    np.testing.assert_allclose(found, np.tile([[1.0, 0.0]], (300, 1)))
