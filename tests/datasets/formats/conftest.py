"""Two images with every kind of object, as a COCO file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from cutler_pl.coco import rle
from cutler_pl.datasets.formats import export_labels
from cutler_pl.models import build_detector
from cutler_pl.models.checkpoint import detector_config

SIZE = (24, 36)
NAMES = ['say "cat"', "a <b> & c", "one, two", "two\nlines", "Käse 'n' : #"]


def drawn_masks() -> dict[str, np.ndarray]:
    """Masks by what is special about them."""
    masks = {name: np.zeros(SIZE, dtype=bool) for name in ("hole", "parts", "pixel", "whole", "border")}
    masks["hole"][3:15, 4:20] = True
    masks["hole"][6:9, 7:12] = masks["hole"][10:12, 8:10] = masks["hole"][5, 15] = False
    masks["parts"][2:6, 25:30] = masks["parts"][12:20, 22:33] = masks["parts"][6, 30] = True
    masks["pixel"][11, 17] = True
    masks["whole"][:] = True
    masks["border"][18:, :9] = True
    return masks


class Labels(NamedTuple):
    """A COCO file of masks, its images, and the masks by kind in the order of the annotations of the first image."""

    annotations: Path
    images: Path
    masks: dict[str, np.ndarray]

    def export(self, format: str, *, output: str = "out", **options: Any) -> Path:
        folder = self.annotations.parent / output
        return export_labels(self.annotations, self.images, folder, format=format, **options)

    def change(self, edit: Callable[[dict[str, Any]], Any]) -> None:
        coco = json.loads(self.annotations.read_text())
        edit(coco)
        self.annotations.write_text(json.dumps(coco))


@pytest.fixture
def labels(tmp_path: Path, write_image: Callable[..., Path]) -> Labels:
    """Ids from 0; the second image lies in a subfolder and has no object."""
    images = []
    for number, name in enumerate(("a.png", "sub folder/b.jpg")):
        write_image(f"images/{name}", SIZE, seed=number)
        images.append({"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
    masks = drawn_masks()
    annotations = []
    for number, mask in enumerate(masks.values()):
        encoded = rle.encode(mask)
        record = {"id": number, "image_id": 0, "category_id": number, "bbox": rle.bbox(encoded), "iscrowd": 0}
        annotations.append({**record, "area": int(mask.sum()), "segmentation": encoded, "score": 0.5 + number / 10})
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return Labels(path, tmp_path / "images", masks)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small detector of two classes that has not been trained."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"backbone": "resnet18", "fpn_channels": 16, "box_head_dim": 16, "mask_head_convs": 1}
    options |= {"min_size_test": 64, "max_size_test": 96, "max_detections": 8, "mask_head_channels": 8}
    model = build_detector("cascade_mask_rcnn_r50_fpn", 2, **options)
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    config = detector_config(model, category_ids=[4, 9], class_names=["cat", "dog"])
    torch.save({"state_dict": state, "model_config": config}, tmp_path / "tiny.ckpt")
    return tmp_path / "tiny.ckpt"
