"""A small COCO file, and what it is made of, for the tests of the index."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from cutler_pl.coco import rle

POLYGON = [[1.0, 1.0, 5.0, 1.0, 5.0, 4.25], [6.0, 6.0, 9.0, 6.0, 9.0, 8.0, 6.0, 8.0]]


def mask(y0: int, y1: int, x0: int, x1: int, size_hw: tuple[int, int] = (8, 12)) -> np.ndarray:
    pixels = np.zeros(size_hw, dtype=bool)
    pixels[y0:y1, x0:x1] = True
    return pixels


def annotation(id_: int, image_id: int, segmentation: Any, **more: Any) -> dict[str, Any]:
    record = {
        "id": id_,
        "image_id": image_id,
        "category_id": 3,
        "bbox": [1.0, 1.0, 4.0, 3.0],
        "area": 12.0,
        "iscrowd": 0,
    }
    return {**record, "segmentation": segmentation, **more}


def small_coco() -> dict[str, Any]:
    crowd = {"size": [8, 12], "counts": [10, 6, 80]}
    return {
        "images": [
            {"id": 50, "file_name": "b/zwei.jpg", "height": 8, "width": 12},
            {"id": 7, "file_name": "a/ünö.jpg", "height": 8, "width": 12},
            {"id": 9, "file_name": "leer.jpg", "height": 30, "width": 20},
        ],
        "annotations": [
            annotation(1, 7, rle.encode(mask(1, 4, 1, 5))),
            annotation(2, 50, POLYGON, category_id=8),
            annotation(3, 7, crowd, iscrowd=1),
            annotation(4, 50, None, category_id=8),
        ],
        "categories": [{"id": 8, "name": "cat"}, {"id": 3, "name": "dog"}],
    }


def write(path: Path, coco: dict[str, Any]) -> Path:
    path.write_text(json.dumps(coco))
    return path
