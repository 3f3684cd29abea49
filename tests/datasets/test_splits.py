import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutler_pl.datasets.splits import draw_images, listed_images, read_images, write_splits
from cutler_pl.errors import AnnotationError, ConfigError, DatasetNotFoundError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ten images by descending id; image 8 has a crowd alone, image 5 nothing."""
    objects = [(n, 100 + n, int(n == 8)) for n in range(10, 0, -1) if n != 5]
    coco = {
        "info": {"version": "1"},
        "annotations": [{"id": a, "image_id": n, "iscrowd": c, "bbox": [0, 0, 1.5, 2]} for n, a, c in objects],
        "licenses": [{"id": 3}],
        "images": [{"id": n, "file_name": f"{n}.jpg", "height": 4, "width": 4} for n in range(10, 0, -1)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(coco))
    return path


@given(st.integers(0, 5), st.floats(0.1, 100), st.floats(0.1, 100))
def test_nested_shares_contain_the_smaller_ones(seed: int, one: float, other: float) -> None:
    ids = range(1000, 1200)
    small, large = (draw_images(ids, share, seed=seed, nested=True) for share in sorted((one, other)))
    assert small <= large <= set(ids)
    assert len(large) == max(1, round(2 * max(one, other)))


def test_shares_depend_on_seed_alone() -> None:
    ids = list(range(1, 101))
    drawn = draw_images(ids, 5.0, seed=0, nested=True)
    assert sorted(drawn) == [15, 44, 46, 87, 99]
    assert draw_images(ids[::-1], 5.0, seed=0, nested=True) == drawn
    assert draw_images(ids, 5.0, seed=1, nested=True) != drawn
    assert not draw_images(ids, 5.0, seed=0, nested=False) <= draw_images(ids, 10.0, seed=0, nested=False)


@pytest.mark.parametrize("percent", [0.0, -1.0, 100.5, float("nan")])
def test_shares_that_are_none_are_refused(percent: float) -> None:
    with pytest.raises(ConfigError, match="is no share of the images"):
        draw_images([1], percent, seed=0, nested=True)


def test_files_hold_the_chosen_records_untouched(source: Path, tmp_path: Path) -> None:
    images = read_images(source)
    out = {tmp_path / "a.json": frozenset({9, 5}), tmp_path / "b.json": frozenset({1})}
    assert write_splits(source, out, images.header) == {tmp_path / "a.json": 1, tmp_path / "b.json": 1}
    whole: dict[str, Any] = json.loads(source.read_text())
    assert json.loads((tmp_path / "a.json").read_text()) == {
        **whole,
        "images": [image for image in whole["images"] if image["id"] in (9, 5)],
        "annotations": [a for a in whole["annotations"] if a["image_id"] == 9],
    }


def test_lists_count_detectron2_images(source: Path, tmp_path: Path) -> None:
    lists, images = tmp_path / "lists.txt", read_images(source)
    with pytest.raises(DatasetNotFoundError, match=r"give lists=<COCO_supervision\.txt>"):
        listed_images(lists, 10.0, seed=0, images=images)
    lists.write_text(json.dumps({"10.0": {"0": [0, 4, 7]}, "1.0": {"0": [8]}}))
    assert images.usable == {1, 2, 3, 4, 6, 7, 9, 10}
    assert listed_images(lists, 10.0, seed=0, images=images) == {1, 6, 10}
    with pytest.raises(AnnotationError, match=r"no list of 10 % with seed 3; there are 10 %: seeds 0; 1 %: seeds 0"):
        listed_images(lists, 10.0, seed=3, images=images)
    with pytest.raises(AnnotationError, match=r"is for another annotation file .* has 8 images with objects"):
        listed_images(lists, 1.0, seed=0, images=images)
    lists.write_text("[1]")
    with pytest.raises(AnnotationError, match="not of the form"):
        listed_images(lists, 1.0, seed=0, images=images)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [({"id": 3, "file_name": "c", "height": 1, "width": 1}, "image id 3 occurs more"), ({"id": 11}, "no positive")],
)
def test_invalid_images_are_refused(source: Path, more: dict[str, Any], sentence: str) -> None:
    coco = json.loads(source.read_text())
    coco["images"].append(more)
    source.write_text(json.dumps(coco))
    with pytest.raises(AnnotationError, match=sentence):
        read_images(source)
