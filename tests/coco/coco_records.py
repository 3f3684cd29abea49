"""Records of COCO files and of results, for the tests of reading and writing them."""

from typing import Any

import numpy as np

from cutler_pl.coco import rle

HEIGHT, WIDTH = 20, 30


def box_mask(x: int, y: int, width: int, height: int, size_hw: tuple[int, int] = (HEIGHT, WIDTH)) -> dict[str, Any]:
    mask = np.zeros(size_hw, dtype=bool)
    mask[y : y + height, x : x + width] = True
    return rle.encode(mask)


def annotation(number: int, image_id: int = 1, **fields: Any) -> dict[str, Any]:
    plain = {"id": number, "image_id": image_id, "category_id": 1, "bbox": [2, 3, 8, 6], "area": 48, "iscrowd": 0}
    return plain | {"segmentation": box_mask(2, 3, 8, 6)} | fields


def coco(*annotations: dict[str, Any], **fields: Any) -> dict[str, Any]:
    image = {"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}
    return {
        "images": [image, image | {"id": 2, "file_name": "b.jpg"}],
        "annotations": list(annotations) or [annotation(1)],
        "categories": [{"id": 1, "name": "fg"}],
    } | fields


def detection(image_id: int = 1, **fields: Any) -> dict[str, Any]:
    plain = {"image_id": image_id, "category_id": 1, "bbox": [2.0, 3.0, 8.0, 6.0], "score": 0.5}
    return plain | {"segmentation": box_mask(2, 3, 8, 6)} | fields
