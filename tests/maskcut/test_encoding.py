import numpy as np
import pytest
import torch
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.encoding import encode_masks
from cutler_pl.maskcut.params import AnnotationParams
from cutler_pl.maskcut.predictor import ImageMasks


def image_masks(
    refined: np.ndarray, *, agreements: list[float] | None = None, ncut_values: list[float] | None = None
) -> ImageMasks:
    rounds, *size_hw = refined.shape
    return ImageMasks(
        name="image.jpg",
        image=torch.zeros(3, *size_hw, dtype=torch.uint8),
        eigenvectors=torch.zeros(rounds, 2, 2),
        ncut_values=torch.zeros(rounds) if ncut_values is None else torch.tensor(ncut_values, dtype=torch.float64),
        coarse=torch.ones(rounds, 2, 2, dtype=torch.bool),
        refined=torch.from_numpy(refined),
        agreements=torch.ones(rounds).double() if agreements is None else torch.tensor(agreements).double(),
        dropped={},
    )


def test_resize_bicubic_threshold_half() -> None:
    mask = np.zeros((12, 12), bool)
    mask[3:9, 2:7] = True
    (annotation,), vanished = encode_masks(image_masks(mask[None]), (30, 50))
    grey = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize((50, 30)))
    np.testing.assert_array_equal(rle.decode(annotation["segmentation"]), grey > 127)
    assert not vanished
    assert annotation["area"] == (grey > 127).sum()
    ys, xs = np.nonzero(grey > 127)
    assert annotation["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]


def test_full_mask_stays_full() -> None:
    (annotation,), _ = encode_masks(image_masks(np.ones((1, 8, 8), bool)), (5, 7))
    assert (annotation["area"], annotation["bbox"]) == (35, [0.0, 0.0, 7.0, 5.0])


def test_keep_faint_spot() -> None:
    """A spot that shrinks below half grey is kept."""
    mask = np.zeros((64, 64), bool)
    mask[32, 32] = True
    (annotation,), vanished = encode_masks(image_masks(mask[None]), (16, 16))
    assert 1 <= annotation["area"] <= 4
    assert not vanished


def test_count_vanished_spot() -> None:
    mask = np.zeros((480, 480), bool)
    mask[200, 200] = True
    found = image_masks(np.stack([mask, np.zeros_like(mask)]))
    assert encode_masks(found, (8, 8)) == ([], {"vanished when resized": 1})


def two_spots() -> np.ndarray:
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[15:17, 15:18] = True
    return mask


def test_split_components_drop_small() -> None:
    mask = image_masks(two_spots()[None])
    whole, _ = encode_masks(mask, (20, 20))
    parts, left_out = encode_masks(mask, (20, 20), params=AnnotationParams(split_parts=True))
    assert [a["area"] for a in whole] == [106]
    assert [a["area"] for a in parts] == [100, 6]
    assert not left_out
    large, left_out = encode_masks(mask, (20, 20), params=AnnotationParams(split_parts=True, min_area=0.05))
    assert [a["area"] for a in large] == [100]
    assert left_out == {"below the smallest area": 1}


def test_write_scores_on_request() -> None:
    refined = np.stack([two_spots(), np.zeros((20, 20), bool), two_spots()])
    found = image_masks(refined, agreements=[1.0, np.nan, 0.5], ncut_values=[0.2, np.nan, 0.2])
    annotations, _ = encode_masks(found, (30, 30), params=AnnotationParams(scores=True))
    assert [a["score"] for a in annotations] == [
        pytest.approx(0.8 * (1 - 106 / 400), abs=1e-4),
        pytest.approx(0.8 * (1 - 106 / 400) * 0.5, abs=1e-4),
    ]


@pytest.mark.parametrize("min_area", [-0.1, 1.0])
def test_refuse_impossible_min_area(min_area: float) -> None:
    with pytest.raises(ConfigError, match=r"annotation\.min_area=.*: expected a number of at least 0 and below 1"):
        AnnotationParams(min_area=min_area)
