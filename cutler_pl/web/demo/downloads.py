"""The files of an answer that people take home: annotations as COCO JSON, and with the masks as PNG files in a zip."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from PIL import Image

from cutler_pl.coco import rle
from cutler_pl.coco.schema import RLE, Instance
from cutler_pl.runtime.files import atomic_write, write_text

IMAGE_ID = 1


@dataclass(frozen=True)
class Found:
    """The objects of one image.

    Attributes:
        file_name: Name of the image, without folders.
        size_hw: Its height and width.
        instances: Objects with full-size masks, the best first.
        category_ids: Category of each.
        categories: Name by category id.
    """

    file_name: str
    size_hw: tuple[int, int]
    instances: Sequence[Instance]
    category_ids: Sequence[int]
    categories: Mapping[int, str]

    def to_coco(self) -> dict[str, Any]:
        """A COCO file of this image, which `cutler train` and labeling tools read."""
        height, width = self.size_hw
        annotations = [
            {"id": number, "image_id": IMAGE_ID, "category_id": category, "iscrowd": 0, **instance}
            for number, (instance, category) in enumerate(zip(self.instances, self.category_ids, strict=True), start=1)
        ]
        return {
            "images": [{"id": IMAGE_ID, "file_name": self.file_name, "height": height, "width": width}],
            "annotations": annotations,
            "categories": [{"id": number, "name": name} for number, name in self.categories.items()],
        }


def write_downloads(folder: Path, found: Found) -> tuple[Path, Path]:
    """Write `annotations.json`, and `masks.zip` with it and `masks/<id>.png`, 255 inside; returns both."""
    annotations, archive = folder / "annotations.json", folder / "masks.zip"
    text = json.dumps(found.to_coco(), indent=1, allow_nan=False)
    write_text(annotations, text)
    with atomic_write(archive) as temporary, zipfile.ZipFile(temporary, "w") as files:
        files.writestr("annotations.json", text, zipfile.ZIP_DEFLATED)
        for number, instance in enumerate(found.instances, start=1):
            files.writestr(f"masks/{number:03d}.png", _png(cast(RLE, instance["segmentation"])))
    return annotations, archive


def _png(mask: RLE) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rle.decode(mask)).convert("L").save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
