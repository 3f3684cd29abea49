"""Label Studio, read back as its documentation and that of thi.ng's run lengths say."""

import json
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from mask_strategies import masks
from polygons import fill

from cutler_pl.coco import rle
from cutler_pl.coco.outlines import crops
from cutler_pl.datasets.formats import ExportOptions
from cutler_pl.datasets.formats.brush import encode_brush
from cutler_pl.datasets.formats.options import PRODUCER
from cutler_pl.errors import AnnotationError

from .conftest import NAMES, SIZE, Labels


def decode(packed: list[int]) -> np.ndarray:
    """Values of the run lengths."""
    bits = "".join(f"{byte:08b}" for byte in packed)
    position = 0

    def read(length: int) -> int:
        nonlocal position
        position += length
        return int(bits[position - length : position], 2)

    values = np.empty(read(32), dtype=np.uint8)
    word, sizes = read(5) + 1, [read(4) + 1 for _ in range(4)]
    start = 0
    while start < len(values):
        is_run = read(1)
        end = start + read(sizes[read(2)]) + 1
        if is_run:
            values[start:end] = read(word)
        else:
            values[start:end] = [read(word) for _ in range(start, end)]
        start = end
    assert len(bits) - position < 8
    return values


def tasks(labels: Labels, **options: Any) -> list[dict[str, Any]]:
    path = labels.export("labelstudio", options=ExportOptions(**options))
    content: list[dict[str, Any]] = json.loads(path.read_text())
    return content


def test_brush_gives_the_masks_back(labels: Labels) -> None:
    """All four channels, of the whole image: a mask of another length is not shown, and nothing says so (#7998)."""
    (prediction,) = tasks(labels)[0]["predictions"]
    assert [result["value"]["brushlabels"] for result in prediction["result"]] == [[name] for name in NAMES]
    for result, mask in zip(prediction["result"], labels.masks.values(), strict=True):
        assert result["type"] == "brushlabels"
        assert result["value"]["format"] == "rle"
        assert (result["original_height"], result["original_width"], result["image_rotation"]) == (*SIZE, 0)
        pixels = decode(result["value"]["rle"]).reshape(*SIZE, 4)
        for channel in range(4):
            np.testing.assert_array_equal(pixels[..., channel], mask * np.uint8(255))


@given(masks())
def test_any_mask_is_packed(mask: np.ndarray) -> None:
    (crop,) = crops([rle.encode(mask)])
    if crop is not None:
        pixels = decode(encode_brush(crop, *mask.shape)).reshape(*mask.shape, 4)
        np.testing.assert_array_equal(pixels[..., 3], mask * np.uint8(255))


def test_long_runs_are_split() -> None:
    """A count has 16 bits at most."""
    mask = np.zeros((300, 400), dtype=bool)
    mask[60:250] = True
    (crop,) = crops([rle.encode(mask)])
    assert crop is not None
    np.testing.assert_array_equal(decode(encode_brush(crop, 300, 400)).reshape(300, 400, 4)[..., 0] > 0, mask)


def test_predictions_name_their_model(labels: Labels) -> None:
    (prediction,) = tasks(labels)[0]["predictions"]
    assert prediction["model_version"] == PRODUCER
    assert prediction["score"] == pytest.approx(0.7)
    assert [result["score"] for result in prediction["result"]] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
    labels.export("labelstudio", options=ExportOptions(model_version="round 3"), overwrite=True)
    content = json.loads((labels.annotations.parent / "out" / "tasks.json").read_text())
    assert content[0]["predictions"][0]["model_version"] == "round 3"


def test_image_addresses_are_quoted(labels: Labels) -> None:
    first, second = (task["data"]["image"] for task in tasks(labels, image_url="https://example.org/?d=set/"))
    assert first == "https://example.org/?d=set/a.png"
    assert unquote(second) == "https://example.org/?d=set/sub folder/b.jpg"
    assert " " not in second


def test_interface_has_all_classes(labels: Labels) -> None:
    """Each kind of region has a control of its own, which the results name."""
    results = tasks(labels)[0]["predictions"][0]["result"]
    view = ElementTree.fromstring((labels.annotations.parent / "out" / "label_config.xml").read_text())
    controls = {control.get("name"): control for control in view}
    for result in results:
        control = controls[result["from_name"]]
        assert control.tag.lower() == result["type"]
        assert control.get("toName") == result["to_name"] == "image"
        assert result["value"][result["type"]][0] in [label.get("value") for label in control]
    assert [label.get("value") for label in controls["masks"]] == NAMES


def test_name_that_xml_cannot_hold_is_refused(labels: Labels) -> None:
    labels.change(lambda coco: coco["categories"][0].update(name="bell\a"))
    with pytest.raises(AnnotationError, match=r"the category 'bell\\x07' has a control character; rename it"):
        labels.export("labelstudio")


def test_boxes_and_polygons_are_in_percent(labels: Labels) -> None:
    labels.change(lambda coco: coco["annotations"][0].pop("segmentation"))
    results = tasks(labels, masks="polygons")[0]["predictions"][0]["result"]
    assert results[0]["type"] == "rectanglelabels"
    box = results[0]["value"]
    sides = (box["x"] * 0.36, box["y"] * 0.24, box["width"] * 0.36, box["height"] * 0.24)
    assert sides == pytest.approx((4, 3, 16, 12))
    parts = [result["value"] for result in results if result["value"].get("polygonlabels") == [NAMES[1]]]
    union = np.zeros(SIZE, dtype=bool)
    for part in parts:
        union |= fill(np.array(part["points"]) * [0.36, 0.24], SIZE)
    np.testing.assert_array_equal(union, labels.masks["parts"])
