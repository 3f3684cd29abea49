"""CVAT: its COCO importer's rules, and the function that runs a detector in it."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cutler_pl.datasets.formats import ExportOptions

from .conftest import NAMES, SIZE, Labels


def test_masks_are_whole_run_lengths(labels: Labels) -> None:
    """Of the image's size, since others are skipped (cvat#8432), as numbers; polygons would lose holes (cvat#7618)."""
    coco = json.loads(labels.export("cvat").read_text())
    for record, mask in zip(coco["annotations"], labels.masks.values(), strict=True):
        assert record["segmentation"]["size"] == list(SIZE)
        runs = record["segmentation"]["counts"]
        assert sum(runs) == SIZE[0] * SIZE[1]  # more breaks CVAT's own export (cvat#9460)
        values = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)
        np.testing.assert_array_equal(values.reshape(SIZE, order="F"), mask)


def test_no_id_is_zero(labels: Labels) -> None:
    """CVAT takes a category of id 0 for none (cvat#4750)."""
    coco = json.loads(labels.export("cvat").read_text())
    assert min(record["id"] for key in ("images", "annotations", "categories") for record in coco[key]) == 1
    assert min(record["category_id"] for record in coco["annotations"]) == 1


def test_task_labels_are_listed(labels: Labels) -> None:
    folder = labels.export("cvat").parent
    assert [label["name"] for label in json.loads((folder / "cvat_labels.json").read_text())] == NAMES
    categories = json.loads((folder / "instances_default.json").read_text())["categories"]
    assert [category["name"] for category in categories] == NAMES


@pytest.fixture
def cvat_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the function uses of cvat_sdk, as its documentation describes it."""
    sdk, annotation, masks = (ModuleType(name) for name in ("cvat_sdk", "cvat_sdk.auto_annotation", "cvat_sdk.masks"))

    def encode_mask(bitmap: np.ndarray, bbox: list[int]) -> list[int]:
        x1, y1, x2, y2 = bbox
        flat = bitmap[y1:y2, x1:x2].ravel()
        edges = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff([0, *edges, len(flat)]).tolist()
        return [*([0] if flat[0] else []), *runs, x1, y1, x2 - 1, y2 - 1]

    annotation.DetectionFunctionSpec = lambda labels: SimpleNamespace(labels=labels)  # type: ignore[attr-defined]
    annotation.label_spec = lambda name, id, **rest: SimpleNamespace(name=name, id=id, **rest)  # type: ignore[attr-defined]
    annotation.shape = lambda label_id, **rest: SimpleNamespace(label_id=label_id, **rest)  # type: ignore[attr-defined]
    masks.encode_mask = encode_mask  # type: ignore[attr-defined]
    sdk.auto_annotation = annotation  # type: ignore[attr-defined]
    for module in (sdk, annotation, masks):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_function_detects_as_the_model(labels: Labels, checkpoint: Path, cvat_sdk: None) -> None:
    """`spec` names the detector's classes, `detect` gives its masks."""
    from cutler_pl import CutLER

    folder = labels.export("cvat", options=ExportOptions(checkpoint=str(checkpoint))).parent
    function: dict[str, Any] = {}
    exec(compile((folder / "cvat_function.py").read_text(), "cvat_function.py", "exec"), function)
    model = CutLER.from_pretrained(checkpoint)
    assert {label.id: label.name for label in function["spec"].labels} == model.names
    image = Image.open(labels.images / "a.png")
    result = model.predict(image, score_threshold=0.0)
    found = function["detect"](SimpleNamespace(frame_name="a.png", conf_threshold=0.0), image)
    expected = [mask.numpy() for mask in result.masks if mask.any()]  # type: ignore[union-attr]
    assert len(found) == len(expected) > 0
    for shape, mask in zip(found, expected, strict=True):
        assert shape.type == "mask"
        assert shape.label_id == 1
        *runs, left, top, right, bottom = shape.points
        drawn = np.zeros(SIZE, dtype=bool)
        values = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)
        drawn[top : bottom + 1, left : right + 1] = values.reshape(bottom + 1 - top, right + 1 - left)
        np.testing.assert_array_equal(drawn, mask)
    assert function["detect"](SimpleNamespace(conf_threshold=1.0), image) == []
