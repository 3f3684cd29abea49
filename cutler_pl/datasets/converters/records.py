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
    """The parts of a dataset that a converter reads.

    Attributes:
        annotations: Annotation file, or folder of annotation files.
        images: Folder of the images; None where they are not checked.
        prefix: What file names in the COCO file have before the names in `images`.
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
    """An image or object that is left out.

    Attributes:
        kind: What was left out.
        reason: Why; the same words for all of the same reason.
        item: Which one, with file and position; empty for what is counted but not listed, since it was not asked for.
        fault: Whether something is wrong with it, as opposed to left out on purpose.
    """

    kind: Literal["image", "object"]
    reason: str
    item: str
    fault: bool = True


Record = ImageRecord | ObjectRecord | SkippedRecord


def clipped_box(box_xyxy: Sequence[float], *, height: int, width: int) -> list[float] | None:
    """`[x, y, width, height]` of a box clipped to its image; None where nothing is left."""
    x0, y0, x1, y1 = box_xyxy
    if not isfinite(x0 + y0 + x1 + y1):
        return None
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    if x1 <= x0 or y1 <= y0:
        return None
    return [round(x0, 3), round(y0, 3), round(x1 - x0, 3), round(y1 - y0, 3)]


def box_record(
    image: ImageRecord, box_xyxy: Sequence[float], *, marked: MarkedPolicy | None, reason: str, item: str
) -> Record:
    """Record of a box annotation.

    Args:
        image: Its image.
        box_xyxy: Box in pixels; it is clipped to the image.
        marked: Treatment of the object if the format marks it, else None.
        reason: Name of that mark.
        item: File and position of the annotation.
    """
    if marked == "drop":
        return SkippedRecord("object", reason, item, fault=False)
    box = clipped_box(box_xyxy, height=image.height, width=image.width)
    if box is None:
        return SkippedRecord("object", NO_AREA, f"{item}: {list(box_xyxy)}")
    return ObjectRecord(image.id, box, round(box[2] * box[3], 3), crowd=marked == "ignore")
