"""COCO, read back by pycocotools."""

import json
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from cutler_pl.datasets.formats import ExportOptions

from .conftest import NAMES, SIZE, Labels

POLYGONS = ExportOptions(masks="polygons")


def written(labels: Labels, **options: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(labels.export("coco", **options).read_text())
    return content


@pytest.mark.parametrize("form", ["rle", "polygons"])
def test_pycocotools_reads_the_same_masks(labels: Labels, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    coco = COCO(labels.export("coco", options=ExportOptions(masks=form)))  # type: ignore[arg-type]
    found = coco.loadAnns(coco.getAnnIds())
    assert [coco.loadCats(record["category_id"])[0]["name"] for record in found] == NAMES
    for record, mask in zip(found, labels.masks.values(), strict=True):
        np.testing.assert_array_equal(coco.annToMask(record), mask)
        assert record["area"] == mask.sum()
        assert isinstance(record["segmentation"], dict if form == "rle" else list)


def test_ids_count_from_one(labels: Labels) -> None:
    """CVAT, for one, takes a category of id 0 for none (cvat#4750)."""
    coco = written(labels)
    assert [category["id"] for category in coco["categories"]] == [1, 2, 3, 4, 5]
    assert [image["id"] for image in coco["images"]] == [1, 2]
    assert [record["id"] for record in coco["annotations"]] == [1, 2, 3, 4, 5]
    assert {record["image_id"] for record in coco["annotations"]} == {1}
    assert [record["category_id"] for record in coco["annotations"]] == [1, 2, 3, 4, 5]


def test_good_ids_are_kept(labels: Labels) -> None:
    def edit(coco: dict[str, Any]) -> None:
        for record in coco["annotations"]:
            record["category_id"] = 90 - 10 * record["category_id"]
        for category in coco["categories"]:
            category["id"] = 90 - 10 * category["id"]

    labels.change(edit)
    coco = written(labels)
    assert [category["id"] for category in coco["categories"]] == [50, 60, 70, 80, 90]
    assert [record["category_id"] for record in coco["annotations"]] == [90, 80, 70, 60, 50]
    assert [image["id"] for image in coco["images"]] == [1, 2]


def test_other_fields_are_kept(labels: Labels) -> None:
    labels.change(lambda coco: coco.update(info={"year": 2026}, licenses=[{"id": 1}]))
    coco = written(labels)
    assert coco["info"] == {"year": 2026}
    assert coco["licenses"] == [{"id": 1}]
    assert [record["score"] for record in coco["annotations"]] == [0.5, 0.6, 0.7, 0.8, 0.9]


def test_given_polygons_stay(labels: Labels) -> None:
    polygon = [[1.5, 2.25, 9, 2, 9.75, 9]]
    labels.change(lambda coco: coco["annotations"][0].update(segmentation=polygon))
    assert written(labels, options=POLYGONS)["annotations"][0]["segmentation"] == polygon
    assert written(labels, overwrite=True)["annotations"][0]["segmentation"]["size"] == list(SIZE)


def test_crowds_keep_run_lengths(labels: Labels) -> None:
    labels.change(lambda coco: coco["annotations"][1].update(iscrowd=1))
    coco = written(labels, options=POLYGONS)
    assert [isinstance(record["segmentation"], dict) for record in coco["annotations"]] == [0, 1, 0, 0, 0]
