import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from cutler_pl.coco import rle


class Folder(NamedTuple):
    images: Path
    annotations: Path
    coco: dict[str, Any]

    def rewrite(self) -> None:
        self.annotations.write_text(json.dumps(self.coco))


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Folder]:
    """Factory of small COCO folders: grey images with one bright square each, its mask as run lengths."""

    def make(sizes_hw: list[tuple[int, int]], *, name: str = "images (1), new", objects: int = 1) -> Folder:
        images = tmp_path / name
        (images / "sub").mkdir(parents=True)
        coco: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "fg"}]}
        for i, (height, width) in enumerate(sizes_hw):
            pixels = np.full((height, width, 3), 40 + i, dtype=np.uint8)
            file_name = f"sub/{i:02d}.png"
            coco["images"].append({"id": 100 + i, "file_name": file_name, "height": height, "width": width})
            for k in range(objects):
                mask = np.zeros((height, width), dtype=bool)
                mask[2 + 6 * k : 7 + 6 * k, 3:11] = True
                pixels[mask] = 240
                coco["annotations"].append({
                    "id": len(coco["annotations"]) + 1, "image_id": 100 + i, "category_id": 1, "iscrowd": 0,
                    "bbox": rle.bbox(rle.encode(mask)), "area": float(mask.sum()), "segmentation": rle.encode(mask),
                })  # fmt: skip
            Image.fromarray(pixels).save(images / file_name)
        folder = Folder(images, tmp_path / f"{name}.json", coco)
        folder.rewrite()
        return folder

    return make
