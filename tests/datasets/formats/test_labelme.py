"""LabelMe, read back as it reads its own files."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from polygons import fill

from cutler_pl.datasets.formats import ExportOptions

from .conftest import NAMES, SIZE, Labels


def read(labels: Labels, name: str, **options: Any) -> dict[str, Any]:
    folder = labels.export("labelme", options=ExportOptions(**options))
    content: dict[str, Any] = json.loads((folder / name).read_text())
    assert (folder / name).parent.joinpath(content["imagePath"]).is_file()
    return content


def pixels(text: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(text))))


def test_pngs_give_the_masks_back(labels: Labels) -> None:
    content = read(labels, "a.json")
    assert [shape["label"] for shape in content["shapes"]] == NAMES
    for shape, mask in zip(content["shapes"], labels.masks.values(), strict=True):
        assert shape["shape_type"] == "mask"
        (left, top), (right, bottom) = shape["points"]
        found = np.zeros(SIZE, dtype=bool)
        found[top : bottom + 1, left : right + 1] = pixels(shape["mask"])
        np.testing.assert_array_equal(found, mask)


def test_polygons_give_the_masks_back(labels: Labels) -> None:
    """The parts of an object are a group."""
    shapes = read(labels, "a.json", masks="polygons")["shapes"]
    assert {shape["shape_type"] for shape in shapes} == {"polygon"}
    for name, mask in zip(NAMES, labels.masks.values(), strict=True):
        parts = [shape for shape in shapes if shape["label"] == name]
        assert len({shape["group_id"] for shape in parts}) == 1
        assert (parts[0]["group_id"] is None) == (len(parts) == 1)
        np.testing.assert_array_equal(sum(fill(np.array(part["points"]), SIZE) for part in parts), mask)


def test_images_are_named_not_held(labels: Labels) -> None:
    content = read(labels, "sub folder/b.json")
    assert content["imageData"] is None
    assert content["shapes"] == []
    assert (content["imageHeight"], content["imageWidth"]) == SIZE
    assert content["imagePath"] == "../../../images/sub folder/b.jpg"


def test_images_are_held_if_asked_for(labels: Labels) -> None:
    content = read(labels, "a.json", image_data=True)
    np.testing.assert_array_equal(pixels(content["imageData"]), np.array(Image.open(labels.images / "a.png")))


def test_boxes_are_rectangles(labels: Labels) -> None:
    labels.change(lambda coco: coco["annotations"][0].pop("segmentation"))
    shape = read(labels, "a.json")["shapes"][0]
    assert shape["shape_type"] == "rectangle"
    assert shape["points"] == [pytest.approx([4, 3]), pytest.approx([20, 15])]
