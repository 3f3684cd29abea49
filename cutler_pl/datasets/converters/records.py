"""What every converter yields: photos, objects in them, and what was left out. Nothing is held, all is passed on.

A photo comes before its objects. Boxes are `[x, y, width, height]` in pixels of the upright photo, with 0 at its
left and upper border.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Literal, NamedTuple

from cutler_pl.coco.schema import Segmentation

Marked = Literal["keep", "ignore", "drop"]
"""What becomes of objects that a format marks as not to be counted (difficult, DontCare, group, crowd): ordinary
objects, regions that count neither as found nor as missed (`iscrowd` 1), or nothing."""

NO_AREA = "box without area inside its image"


class Photo(NamedTuple):
    """An image that will be in the file; `file_name` is relative to the catalogue's image folder."""

    id: int
    file_name: str
    height: int
    width: int


class Found(NamedTuple):
    """An object; `id` and `segmentation` are those of the source, if it has them."""

    image_id: int
    bbox: Sequence[float]
    area: float
    crowd: bool = False
    segmentation: Segmentation | None = None
    id: int | None = None


class Skipped(NamedTuple):
    """Something left out.

    Attributes:
        kind: What was left out.
        reason: Why, in words that are the same for all of the same reason.
        item: Which one, with file and place; empty for what is counted but not listed, since it was not asked for.
        fault: Whether something is wrong with it, as opposed to left out on purpose.
    """

    kind: Literal["image", "object"]
    reason: str
    item: str
    fault: bool = True


Record = Photo | Found | Skipped


def clipped_box(corners_xyxy: Sequence[float], *, height: int, width: int) -> list[float] | None:
    """Box `[x, y, width, height]` of the part of a rectangle inside an image; None where there is none."""
    x0, y0, x1, y1 = corners_xyxy
    if not isfinite(x0 + y0 + x1 + y1):
        return None
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    if x1 <= x0 or y1 <= y0:
        return None
    return [round(x0, 3), round(y0, 3), round(x1 - x0, 3), round(y1 - y0, 3)]


def box_of(photo: Photo, corners_xyxy: Sequence[float], *, marked: Marked | None, reason: str, item: str) -> Record:
    """Record of a box annotation.

    Args:
        photo: The photo it is in.
        corners_xyxy: Corners in pixels; the part outside the image is cut off.
        marked: What to do about it, if the format marks it as not to be counted.
        reason: The name of that mark.
        item: File and place of the annotation.
    """
    if marked == "drop":
        return Skipped("object", reason, item, fault=False)
    box = clipped_box(corners_xyxy, height=photo.height, width=photo.width)
    if box is None:
        return Skipped("object", NO_AREA, f"{item}: {list(corners_xyxy)}")
    return Found(photo.id, box, round(box[2] * box[3], 3), crowd=marked == "ignore")
