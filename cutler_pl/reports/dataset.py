"""Annotations drawn on their photos, for the eye to judge what no count can: whether boxes sit where they should."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from cutler_pl.coco import rle
from cutler_pl.coco.stream import read_records
from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image
from cutler_pl.ops.boxes import xywh_to_xyxy
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.contact_sheet import contact_sheet
from cutler_pl.visual.draw import draw_instances
from cutler_pl.visual.image_files import save_image

log = get_logger(__name__)

_IGNORED = (255, 255, 0)


def write_contact_sheet(
    output: Path, annotations: Path, photos: Path, *, prefix: str, image_ids: Sequence[int]
) -> None:
    """Draw images of a COCO file with their boxes and masks; regions that do not count are crossed out.

    Args:
        output: Picture file.
        annotations: The COCO file; it is read in one pass, whatever its size.
        photos: Folder of the photos.
        prefix: What the file names have more than those in `photos`.
        image_ids: Images to draw; photos that cannot be decoded are named in the log and left out.
    """
    images: dict[int, dict[str, Any]] = {number: {} for number in image_ids}
    objects: dict[int, list[dict[str, Any]]] = {number: [] for number in image_ids}
    for key, record in read_records(annotations):
        if key == "images" and record["id"] in images:
            images[record["id"]] = record
        elif key == "annotations" and record["image_id"] in objects:
            objects[record["image_id"]].append(record)
    panels, titles = [], []
    for number, image in images.items():
        name = image["file_name"].removeprefix(prefix)
        try:
            photo = read_image(photos / name)
        except ImageReadError as error:  # headers alone were read so far
            log.warning("not on the picture sheet: %s", error)
            continue
        panels.append(_drawn(photo, image, objects[number]))
        titles.append(f"{len(objects[number])} in {name}")
    if panels:
        save_image(output, contact_sheet(panels, titles))


def _drawn(
    photo: UInt8[np.ndarray, "height width 3"], image: dict[str, Any], objects: Sequence[dict[str, Any]]
) -> UInt8[np.ndarray, "height width 3"]:
    counted = [record for record in objects if not record["iscrowd"]]
    ignored = [record for record in objects if record["iscrowd"]]
    picture = draw_instances(photo, _masks(counted, image), boxes=_boxes(counted)) if counted else photo
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    for x0, y0, x1, y1 in _boxes(ignored).tolist() if ignored else ():
        for line in ((x0, y0, x1, y0, x1, y1, x0, y1, x0, y0), (x0, y0, x1, y1), (x0, y1, x1, y0)):
            pen.line(line, fill=_IGNORED, width=max(1, max(photo.shape) // 400))
    return np.array(canvas)


def _masks(objects: Sequence[dict[str, Any]], image: dict[str, Any]) -> np.ndarray | None:
    if not all(record.get("segmentation") for record in objects):
        return None
    height, width = image["height"], image["width"]
    return np.stack([rle.decode(rle.to_rle(record["segmentation"], height, width)) for record in objects])


def _boxes(objects: Sequence[dict[str, Any]]) -> np.ndarray:
    return xywh_to_xyxy(np.array([record["bbox"] for record in objects], dtype=np.float64))
