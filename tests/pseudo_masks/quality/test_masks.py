"""Figures of masks, by values computed by hand."""

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutler_pl.coco import rle
from cutler_pl.errors import AnnotationError
from cutler_pl.pseudo_masks.quality.masks import MaskReport, Spread, evenly_spaced, read_masks

SIZE = (10, 20)


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def written(folder: Path, *images: list[tuple[np.ndarray, dict[str, Any]]]) -> Path:
    """A file of images with masks, each with further fields."""
    records, annotations = [], []
    for number, masks in enumerate(images, start=1):
        records.append({"id": number, "file_name": f"{number}.png", "height": SIZE[0], "width": SIZE[1]})
        for mask, more in masks:
            code = rle.encode(mask)
            record = {"segmentation": code, "bbox": rle.bbox(code), "area": rle.area(code), "iscrowd": 0, **more}
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": 1, **record})
    path = folder / "annotations.json"
    coco = {"images": records, "annotations": annotations, "categories": [{"id": 1, "name": "fg"}]}
    path.write_text(json.dumps(coco))
    return path


def read(path: Path, *, num_examples: int = 2, sample: int = 8) -> MaskReport:
    return read_masks(path, path.parent, path.parent / "scratch", num_examples=num_examples, sample=sample)


def test_figures_of_a_file(tmp_path: Path) -> None:
    first = [
        (box(2, 4, 7, 8), {"score": 0.9, "ncut_value": 0.1}),
        (box(0, 0, 1, 1), {"score": 0.5, "ncut_value": 0.3}),
    ]
    crowd = [(box(0, 0, 10, 20), {"iscrowd": 1})]
    figures = read(written(tmp_path, first, crowd, [(box(2, 4, 7, 8), {"score": 0.7})])).figures
    assert (figures.images, figures.masks, figures.without_mask) == (3, 3, 1)
    assert figures.names_without_mask == ["2.png"]
    assert figures.images_by_masks == {0: 1, 1: 1, 2: 1}
    assert figures.border_share == pytest.approx(1 / 3)
    assert figures.two_sides_share == pytest.approx(1 / 3)
    assert figures.small_share == pytest.approx(1 / 3)
    assert figures.covered == pytest.approx((21 / 200 + 0 + 20 / 200) / 3)
    assert figures.fragments == figures.fill == pytest.approx(1)
    assert figures.score is not None
    assert figures.score.median == pytest.approx(0.7)
    assert figures.score_by_position == pytest.approx([0.8, 0.5])
    assert figures.ncut_value is not None
    assert astuple(figures.ncut_value) == pytest.approx((0.12, 0.2, 0.28))


def test_spread_has_percentiles() -> None:
    assert Spread.of(list(range(11))) == Spread(1.0, 5.0, 9.0)
    assert Spread.of([]) is None


def test_surest_and_most_doubtful_are_of_different_images(tmp_path: Path) -> None:
    images = [
        [(box(2, 4, 7, 8), {"score": score}), (box(2, 4, 7, 9), {"score": score / 2})] for score in (0.4, 0.8, 0.6)
    ]
    report = read(written(tmp_path, *images))
    assert [(one.file_name, one.sureness) for one in report.surest] == [("2.png", 0.8), ("3.png", 0.6)]
    assert [(one.file_name, one.sureness) for one in report.most_doubtful] == [("1.png", 0.2), ("3.png", 0.3)]


def test_sample_is_evenly_spaced(tmp_path: Path) -> None:
    report = read(written(tmp_path, *[[(box(2, 4, 7, 8), {})] for _ in range(6)]), sample=3)
    assert [image.file_name for image in report.sample] == ["1.png", "3.png", "5.png"]
    assert evenly_spaced(2, 5) == [0, 1]


def test_missing_values_do_not_count(tmp_path: Path) -> None:
    figures = read(written(tmp_path, [(box(2, 4, 7, 8), {"ncut_value": None})])).figures
    assert figures.score is None
    assert figures.ncut_value is None


@pytest.mark.parametrize("score", ["high", -0.1, 1.5])
def test_score_that_is_none_is_refused(tmp_path: Path, score: object) -> None:
    with pytest.raises(AnnotationError, match=f"annotation 1 has the score {score!r}, not a number from 0 to 1"):
        read(written(tmp_path, [(box(2, 4, 7, 8), {"score": score})]))


def test_polygons_count(tmp_path: Path) -> None:
    polygon = {"segmentation": [[4, 2, 8, 2, 8, 7, 4, 7]]}
    figures = read(written(tmp_path, [(box(2, 4, 7, 8), polygon)])).figures
    assert figures.area is not None
    assert figures.area.median == pytest.approx(20 / 200)


def test_read_beyond_one_group_of_images(tmp_path: Path) -> None:
    report = read(written(tmp_path, *[[(box(2, 4, 7, 8), {})] for _ in range(1100)]), sample=2)
    assert report.figures.images == report.figures.masks == len(report.sizes_hw) == 1100
    assert [image.file_name for image in report.sample] == ["1.png", "551.png"]
