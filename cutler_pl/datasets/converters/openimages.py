"""OpenImages' box table: one row a box, corners as shares of the image in the order XMin, XMax, YMin, YMax.

Columns are found by the names in the first line: version 6 has eight more (XClick…) than versions 4 and 5. The rows
of an image need not stand together, so they are gathered first, as plain numbers (57 bytes a box). A group box
(`IsGroupOf`) stands for more than five objects that touch. The table has no image sizes, so photos are needed.
"""

import csv
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cutler_pl.datasets.converters.photos import ImageFolder
from cutler_pl.datasets.converters.records import Marked, Photo, Record, Skipped, box_of
from cutler_pl.errors import AnnotationError

GROUP = "group of objects"
_CORNERS = ("XMin", "YMin", "XMax", "YMax")


class _Table:
    """Boxes in the order of their rows: the number of the image, the row, whether it is a group, four corners."""

    def __init__(self) -> None:
        self.images: dict[str, int] = {}
        self.image, self.row, self.group = array("q"), array("q"), array("b")
        self.corners = array("d")


def read_openimages(table: Path, *, photos: Path, prefix: str, marked: Marked) -> Iterator[Record]:
    """Read the boxes of a table, image by image in the order of their first rows.

    Args:
        table: `<split>-annotations-bbox.csv`.
        photos: Folder of `<ImageID>.jpg`.
        prefix: What comes before the photo's name in the file name.
        marked: What becomes of group boxes.

    Raises:
        AnnotationError: The file is not a table of boxes.
    """
    boxes = _Table()
    yield from _read(table, boxes)
    order = np.argsort(np.frombuffer(boxes.image, dtype=np.int64), kind="stable") if boxes.image else np.zeros(0, int)
    ends = np.cumsum(np.bincount(np.frombuffer(boxes.image, dtype=np.int64))) if boxes.image else np.zeros(0, int)
    found = ImageFolder(photos)
    start = 0
    for (image_id, number), end in zip(boxes.images.items(), ends.tolist(), strict=True):
        photo = _photo(image_id, number + 1, found, table, prefix)
        yield photo
        for place in order[start:end].tolist():
            item = f"{table}, row {boxes.row[place]}"
            if isinstance(photo, Skipped):
                yield Skipped("object", f"its image: {photo.reason}", item)
                continue
            x0, y0, x1, y1 = boxes.corners[4 * place : 4 * place + 4]
            corners = (x0 * photo.width, y0 * photo.height, x1 * photo.width, y1 * photo.height)
            ignored = marked if boxes.group[place] else None
            yield box_of(photo, corners, marked=ignored, reason=GROUP, item=item)
        start = end


def _photo(image_id: str, number: int, photos: ImageFolder, table: Path, prefix: str) -> Photo | Skipped:
    name = photos.name_of(image_id)
    size = None if name is None else photos.size_of(name)
    if name is None or size is None:
        return Skipped("image", "photo missing", f"{table}: no photo {image_id}.* in {photos.folder}")
    return (
        Skipped("image", "photo not readable", size) if isinstance(size, str) else Photo(number, prefix + name, *size)
    )


def _read(path: Path, boxes: _Table) -> Iterator[Skipped]:
    """Fill `boxes`; yield the rows that are none."""
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        rows = csv.reader(file)
        head = next(rows, [])
        missing = [name for name in ("ImageID", *_CORNERS) if name not in head]
        if missing:
            raise AnnotationError(
                f"{path}: not a box table of OpenImages, the first line has no column {' '.join(missing)}; give "
                "annotations=<…-annotations-bbox.csv>"
            )
        image, places = head.index("ImageID"), [head.index(name) for name in _CORNERS]
        group = head.index("IsGroupOf") if "IsGroupOf" in head else None
        try:
            for fields in rows:
                try:
                    if len(fields) != len(head):
                        raise ValueError(f"{len(fields)} columns instead of {len(head)}")
                    corners = [float(fields[place]) for place in places]
                    if not all(0 <= share <= 1 for share in corners):
                        raise ValueError(f"corners {corners} are not shares from 0 to 1")
                except ValueError as error:
                    if fields:
                        yield Skipped("object", "row is not a box", f"{path}, row {rows.line_num}: {error}")
                    continue
                boxes.image.append(boxes.images.setdefault(fields[image], len(boxes.images)))
                boxes.row.append(rows.line_num)
                boxes.group.append(group is not None and fields[group] == "1")
                boxes.corners.extend(corners)
        except csv.Error as error:
            raise AnnotationError(f"{path}, row {rows.line_num}: not CSV ({error}); download it again") from error
