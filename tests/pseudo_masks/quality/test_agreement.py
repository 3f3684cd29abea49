"""Agreement of two runs, by values computed by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cutler_pl.coco import rle
from cutler_pl.coco.schema import RLE
from cutler_pl.pseudo_masks.quality.agreement import build_second_run, measure_agreement
from cutler_pl.pseudo_masks.quality.masks import SampledImage

SIZE = (40, 60)


def bar(left: int, right: int) -> RLE:
    mask = np.zeros(SIZE, dtype=bool)
    mask[10:20, left:right] = True
    return rle.encode(mask)


def test_best_overlap_of_each_mask(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    names = [write_image(f"{number}.png", SIZE, seed=number).name for number in (1, 2, 3)]
    sample = [
        SampledImage(names[0], SIZE, [bar(0, 10), bar(20, 30)]),
        SampledImage(names[1], SIZE, []),
        SampledImage("gone.png", SIZE, [bar(0, 10)]),
    ]
    found = measure_agreement(sample, tmp_path, lambda _: [bar(5, 10), bar(26, 34)], setting="τ")
    assert found is not None
    assert found.images == 1
    assert found.mean_iou == pytest.approx((5 / 10 + 4 / 14) / 2)
    assert found.matched_share == 0.5


def test_no_mask_in_the_second_run_is_no_agreement(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    sample = [SampledImage(write_image("a.png", SIZE, seed=1).name, SIZE, [bar(0, 10)])]
    found = measure_agreement(sample, tmp_path, lambda _: [], setting="τ")
    assert found is not None
    assert (found.mean_iou, found.matched_share) == (0, 0)


def test_no_mask_at_all_is_not_measured(tmp_path: Path) -> None:
    assert measure_agreement([SampledImage("a.png", SIZE, [])], tmp_path, lambda _: [], setting="τ") is None


def test_second_run_finds_an_object() -> None:
    image = np.full((*SIZE, 3), 40, np.uint8)
    image[10:30, 20:40] = (220, 60, 60)
    option = {"tau": 0.8, "num_masks": 1, "fixed_size": 64, "features": {"name": "patch_descriptors", "weights": None}}
    (found,) = build_second_run(option, torch.device("cpu"))(image)
    expected = np.zeros(SIZE, dtype=bool)
    expected[10:30, 20:40] = True
    assert rle.iou([found], [rle.encode(expected)]).item() > 0.5
