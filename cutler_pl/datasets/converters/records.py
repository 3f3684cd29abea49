"""What converters read and yield: image records, each before its objects, and records of what was skipped.

Boxes are `[x, y, width, height]` in pixels of the upright image, with 0 at its left and upper border.
"""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Literal, NamedTuple

from cutler_pl.coco.schema import Segmentation

MarkedPolicy = Literal["keep", "ignore", "drop"]
"""Treatment of objects that a format marks (difficult, DontCare, group, crowd): ordinary objects, ignored regions
(`iscrowd` 1), or none."""

NO_AREA = "box without area inside its image"


class Source(NamedTuple):
    """The parts of a dataset that a converter reads; `images` is None where they are not checked.

    `prefix` is what file names in the COCO file have before the names in `images`.
    """

    annotations: Path
    images: Path | None
    prefix: str = ""
    marked: MarkedPolicy = "ignore"


class ImageRecord(NamedTuple):
    """An image of the COCO file; `file_name` is relative to the catalogue's image folder."""

    id: int
    file_name: str
    height: int
    width: int


class ObjectRecord(NamedTuple):
    """An annotation of the COCO file; `id` and `segmentation` are those of the source, if it has them."""

    image_id: int
    bbox: Sequence[float]
    area: float
    crowd: bool = False
    segmentation: Segmentation | None = None
    id: int | None = None


class SkippedRecord(NamedTuple):
    """An image or object that is left out, because of an error or on purpose.

    `item` is its file and position; empty for what is counted but not listed, since it was not asked for.
    """

    kind: Literal["image", "object"]
    reason: str
    item: str
    is_error: bool = True


Record = ImageRecord | ObjectRecord | SkippedRecord


def box_record(
    image: ImageRecord, box_xyxy: Sequence[float], *, marked: MarkedPolicy | None, reason: str, item: str
) -> Record:
    """Record of a box, clipped to its image.

    Args:
        image: Its image.
        box_xyxy: Box in pixels.
        marked: Treatment of the object if the format marks it, else None.
        reason: Name of the mark.
        item: File and position of the annotation.
    """
    if marked == "drop":
        return SkippedRecord("object", reason, item, is_error=False)
    x0, y0 = (max(start, 0.0) for start in box_xyxy[:2])
    width, height = min(box_xyxy[2], image.width) - x0, min(box_xyxy[3], image.height) - y0
    if not isfinite(sum(box_xyxy)) or width <= 0 or height <= 0:
        return SkippedRecord("object", NO_AREA, f"{item}: {list(box_xyxy)}")
    box = [round(value, 3) for value in (x0, y0, width, height)]
    return ObjectRecord(image.id, box, round(box[2] * box[3], 3), crowd=marked == "ignore")
