"""Annotations of a dataset drawn on its images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cutler_pl.coco.file_names import path_below
from cutler_pl.coco.stream import read_records
from cutler_pl.errors import AnnotationError, ImageReadError
from cutler_pl.images import read_image
from cutler_pl.runtime.logging import get_logger
from cutler_pl.visual.contact_sheet import contact_sheet
from cutler_pl.visual.image_files import save_image
from cutler_pl.visual.records import draw_records

log = get_logger(__name__)


def write_contact_sheet(
    output: Path, annotations: Path, images: Path, *, prefix: str, image_ids: Sequence[int]
) -> None:
    """Draw images of a COCO file with their boxes and masks; crowd regions are crossed out.

    Args:
        prefix: Prefix of the annotated file names that is missing in `images`.
        image_ids: Images to draw; unreadable ones are logged and left out.
    """
    records: dict[int, dict[str, Any]] = {image_id: {} for image_id in image_ids}
    objects: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in image_ids}
    for key, record in read_records(annotations):
        if key == "images" and record["id"] in records:
            records[record["id"]] = record
        elif key == "annotations" and record["image_id"] in objects:
            objects[record["image_id"]].append(record)
    panels, titles = [], []
    for image_id, record in records.items():
        name = record["file_name"].removeprefix(prefix)
        try:
            image = read_image(path_below(images, name))
        except (AnnotationError, ImageReadError) as error:  # the converter has read headers only
            log.warning("not on the contact sheet: %s", error)
            continue
        panels.append(draw_records(image, objects[image_id]))
        titles.append(f"{len(objects[image_id])} in {name}")
    if panels:
        save_image(output, contact_sheet(panels, titles))
