"""FiftyOne: its loader's lines, and masks as it cuts them from COCO's."""

import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cutler_pl.coco import rle

from .conftest import Labels


def test_boxes_hold_the_whole_masks(labels: Labels) -> None:
    """FiftyOne keeps what lies inside the rounded box, and predicted boxes are not the masks' extents."""
    labels.change(lambda coco: coco["annotations"][0].update(bbox=[5.5, 4.5, 9, 5]))
    coco = json.loads((labels.export("fiftyone").parent / "fiftyone.json").read_text())
    for record, mask in zip(coco["annotations"], labels.masks.values(), strict=True):
        x, y, width, height = (round(value) for value in record["bbox"])
        kept = np.zeros_like(mask)
        kept[y : y + height, x : x + width] = rle.decode(record["segmentation"])[y : y + height, x : x + width]
        np.testing.assert_array_equal(kept, mask)


def test_loader_names_images_and_labels(labels: Labels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `label_types`, FiftyOne reads boxes only."""
    called: dict[str, Any] = {}
    fiftyone = ModuleType("fiftyone")
    fiftyone.types = SimpleNamespace(COCODetectionDataset="coco")  # type: ignore[attr-defined]
    fiftyone.Dataset = SimpleNamespace(from_dir=lambda **given: called.update(given))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fiftyone", fiftyone)
    loader = labels.export("fiftyone")
    exec(compile(loader.read_text(), "load_fiftyone.py", "exec"), {"__name__": "loader"})
    assert called == {
        "dataset_type": "coco",
        "label_types": "segmentations",
        "data_path": str(labels.images),
        "labels_path": str(loader.with_name("fiftyone.json")),
    }
