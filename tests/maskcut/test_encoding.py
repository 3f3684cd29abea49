from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.errors import ConfigError
from cutler_pl.maskcut.encoding import encode_masks, encode_tiles
from cutler_pl.maskcut.params import AnnotationParams
from cutler_pl.maskcut.predictor import ImageMasks
from cutler_pl.maskcut.scores import cut_scores
from cutler_pl.ops.tiles import Window


def image_masks(
    refined: np.ndarray, *, agreements: list[float] | None = None, ncut_values: list[float] | None = None
) -> ImageMasks:
    rounds, *size_hw = refined.shape
    values = torch.tensor(ncut_values or [0.0] * rounds, dtype=torch.float64)
    return ImageMasks(
        name="image.jpg",
        image=torch.zeros(3, *size_hw, dtype=torch.uint8),
        coarse=torch.ones(rounds, 12, 12, dtype=torch.bool),
        refined=torch.from_numpy(refined),
        scores=cut_scores(values),
        agreements=torch.ones(rounds).double() if agreements is None else torch.tensor(agreements).double(),
        provenance=[{"ncut_value": value} for value in values.tolist()],
        dropped={},
        maps={},
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
    assert [a["ncut_value"] for a in annotations] == [0.2, 0.2]


@pytest.mark.parametrize("min_area", [-0.1, 1.0])
def test_refuse_impossible_min_area(min_area: float) -> None:
    with pytest.raises(ConfigError, match=r"annotation\.min_area=.*: expected a number of at least 0 and below 1"):
        AnnotationParams(min_area=min_area)


def touching_discs() -> ImageMasks:
    """A disc alone in the first round, two that touch in the second, of one texture on 8-pixel patches."""
    rows, columns = np.mgrid[:96, :96]
    alone, left, right = (
        (rows - y) ** 2 + (columns - x) ** 2 <= radius**2 for y, x, radius in ((15, 15, 12), (60, 30, 20), (60, 66, 20))
    )
    found = image_masks(np.stack([alone, left | right]))
    return replace(found, features=torch.ones(1, 12, 12, dtype=torch.float16))


def test_parts_of_split_mask_say_so() -> None:
    params = AnnotationParams(scores=True, split="watershed")
    whole, left, right = encode_masks(touching_discs(), (96, 96), params=params)[0]
    assert "split_from" not in whole
    assert left["split_from"] == right["split_from"] == 2  # the second mask
    assert left["bbox"][0] + left["bbox"][2] <= right["bbox"][0] + 1
    assert left["score"] == pytest.approx(1 - left["area"] / 96**2, abs=2e-4)  # of the part, not of the mask
    assert len(encode_masks(touching_discs(), (96, 96))[0]) == 2


def test_split_parts_of_tiles_are_merged() -> None:
    """Two tiles that overlap by half show the same two discs."""
    rows, columns = np.mgrid[:96, :144]
    discs = [(rows - 48) ** 2 + (columns - x) ** 2 <= 20**2 for x in (54, 90)]
    windows = [Window(0, 0, 96, 96), Window(0, 48, 96, 144)]
    features = torch.ones(1, 12, 12, dtype=torch.float16)
    tiles = [replace(image_masks((discs[0] | discs[1])[None, :, w.left : w.right]), features=features) for w in windows]
    found, _ = encode_tiles(tiles, windows, (96, 144), params=AnnotationParams(split="watershed"))
    assert len(found) == 2
    for disc in discs:
        masks = [rle.decode(one["segmentation"]) for one in found]
        assert max((mask & disc).sum() / (mask | disc).sum() for mask in masks) > 0.9
    assert {one["split_from"] for one in found} <= {1, 2}


def test_write_mapped_scores() -> None:
    """Linear between the pairs, constant outside; without a map parameters of earlier outputs stay the same."""
    found = image_masks(np.ones((1, 8, 8), bool), ncut_values=[0.2])
    params = AnnotationParams(scores=True, score_map=[[0.2, 0.1], [0.6, 0.5]])
    plain, mapped = (
        encode_masks(found, (8, 8), params=one)[0][0]["score"] for one in (replace(params, score_map=None), params)
    )
    assert mapped == round(params.calibrated(plain), 4)
    assert [params.calibrated(score) for score in (0.0, 0.3, 0.6, 1.0)] == pytest.approx([0.1, 0.2, 0.5, 0.5])
    assert "score_map" not in AnnotationParams().constants()
    assert params.constants()["score_map"] == ((0.2, 0.1), (0.6, 0.5))


@pytest.mark.parametrize(
    ("score_map", "expected"),
    [
        ([[0.2, 0.5], [0.4, 0.3]], "values must not fall"),
        ([[0.4, 0.3], [0.4, 0.5]], "scores must rise"),
        ([[0.4, 1.5]], "annotation.score_map"),
        ([[0.4]], "annotation.score_map"),
        ([], "annotation.score_map"),
    ],
)
def test_refuse_unusable_score_map(score_map: list[list[float]], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        AnnotationParams(scores=True, score_map=score_map)
