"""LabelMe: a JSON file per image, with the pixels of each mask as a PNG, or with polygons."""

import base64
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from cutler_pl.coco.outlines import Crop, crops, rings
from cutler_pl.coco.stream import list_writer
from cutler_pl.datasets.formats.label_file import LabeledImage, LabelFile, clipped_box, label_name
from cutler_pl.datasets.formats.options import ExportOptions
from cutler_pl.images import read_image
from cutler_pl.runtime.files import wrap_os_errors

FOLDER = "labelme"
_VERSION = "5.5.0"  # of the format: the first with a description


def write(labels: LabelFile, folder: Path, options: ExportOptions) -> None:
    """Write `labelme/`, whose files name the images by the way to them.

    Raises:
        AnnotationError: Two images would have the same file.
    """
    names = {category["id"]: category["name"] for category in labels.categories}
    taken: dict[str, str] = {}
    for image in labels.without_crowds():
        name = f"{label_name(image.record, taken, labels.source)}.json"
        place = (folder.parent / FOLDER / name).parent.resolve()
        content: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": [shape for shapes in _shapes(image, names, options) for shape in shapes],
            "imagePath": Path(os.path.relpath(image.path.resolve(), place)).as_posix(),
            "imageData": _encoded(read_image(image.path)) if options.image_data else None,
            "imageHeight": image.record["height"],
            "imageWidth": image.record["width"],
        }
        path = folder / FOLDER / name
        with wrap_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="ascii", newline="\n") as file:
                list_writer(file)(content)


def _shapes(image: LabeledImage, names: dict[int, str], options: ExportOptions) -> list[list[dict[str, Any]]]:
    found = iter(crops([mask for _, mask in image.objects if mask]))
    shapes = []
    for number, (record, mask) in enumerate(image.objects, start=1):
        crop = next(found) if mask else None
        label = names[record["category_id"]]
        if crop is None:
            x0, y0, x1, y1 = clipped_box(image.record, record)
            shapes.append([_shape(label, "rectangle", [[x0, y0], [x1, y1]])])
        elif options.masks == "rle":
            shapes.append([_mask_shape(label, crop)])
        else:
            parts = [ring.tolist() for ring in rings(crop)]
            group = number if len(parts) > 1 else None
            shapes.append([_shape(label, "polygon", part, group_id=group) for part in parts])
    return shapes


def _shape(label: str, kind: str, points: list[Any], **fields: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"group_id": None, "description": "", "flags": {}, "mask": None}
    return {"label": label, "points": points, "shape_type": kind, **empty, **fields}


def _mask_shape(label: str, crop: Crop) -> dict[str, Any]:
    """The pixels between two corners, both inclusive."""
    pixels = crop.pixels[1:-1, 1:-1]
    height, width = pixels.shape
    corners = [[crop.left + 1, crop.top + 1], [crop.left + width, crop.top + height]]
    return _shape(label, "mask", corners, mask=_encoded(pixels.astype(bool)))


def _encoded(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode("ascii")
