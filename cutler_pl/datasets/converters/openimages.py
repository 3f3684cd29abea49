"""OpenImages' box table: one row per box, relative coordinates in the order XMin, XMax, YMin, YMax.

Columns are found by the names in the first line: version 6 has eight more (XClick…) than versions 4 and 5. The rows
of an image need not be adjacent, so they are gathered first, as plain numbers (57 bytes per box). A group box
(`IsGroupOf`) stands for more than five objects that touch. The table has no image sizes, so the images are read.
"""

import csv
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cutler_pl.datasets.converters.image_folder import ImageFolder
from cutler_pl.datasets.converters.records import Record, SkippedRecord, Source, box_record
from cutler_pl.errors import AnnotationError

GROUP = "group of objects"
_CORNERS = ("XMin", "YMin", "XMax", "YMax")


class _Table:
    """Boxes in the order of their rows: the number of the image, the row, whether it is a group, four corners."""

    def __init__(self) -> None:
        self.images: dict[str, int] = {}
        self.image, self.row, self.group = array("q"), array("q"), array("b")
        self.corners = array("d")


def read_openimages(source: Source) -> Iterator[Record]:
    """Read `<split>-annotations-bbox.csv`, image by image in the order of their first rows.

    Raises:
        AnnotationError: The file is not a table of boxes.
    """
    table, boxes = source.annotations, _Table()
    yield from _read(table, boxes)
    image_of_box = np.array(boxes.image, dtype=np.int64)
    order = np.argsort(image_of_box, kind="stable")
    ends = np.cumsum(np.bincount(image_of_box))
    folder = ImageFolder(source.images)
    start = 0
    for (image_id, number), end in zip(boxes.images.items(), ends.tolist(), strict=True):
        name = folder.find_stem(image_id)
        image = folder.record(number + 1, name, item=str(table), sought=f"{image_id}.*", prefix=source.prefix)
        yield image
        for i in order[start:end].tolist():
            item = f"{table}, row {boxes.row[i]}"
            if isinstance(image, SkippedRecord):
                yield SkippedRecord("object", f"its image: {image.reason}", item)
                continue
            x0, y0, x1, y1 = boxes.corners[4 * i : 4 * i + 4]
            box = (x0 * image.width, y0 * image.height, x1 * image.width, y1 * image.height)
            policy = source.marked if boxes.group[i] else None
            yield box_record(image, box, marked=policy, reason=GROUP, item=item)
        start = end


def _read(path: Path, boxes: _Table) -> Iterator[SkippedRecord]:
    """Fill `boxes`; yield the rows that are none."""
    with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        missing = [name for name in ("ImageID", *_CORNERS) if name not in header]
        if missing:
            raise AnnotationError(
                f"{path}: not a box table of OpenImages, the first line has no column {' '.join(missing)}; give "
                "annotations=<…-annotations-bbox.csv>"
            )
        image, columns = header.index("ImageID"), [header.index(name) for name in _CORNERS]
        group = header.index("IsGroupOf") if "IsGroupOf" in header else None
        try:
            for fields in rows:
                try:
                    if len(fields) != len(header):
                        raise ValueError(f"{len(fields)} columns instead of {len(header)}")
                    corners = [float(fields[column]) for column in columns]
                    if not all(0 <= corner <= 1 for corner in corners):
                        raise ValueError(f"corners {corners} are not relative coordinates from 0 to 1")
                except ValueError as error:
                    if fields:
                        yield SkippedRecord("object", "row is not a box", f"{path}, row {rows.line_num}: {error}")
                    continue
                boxes.image.append(boxes.images.setdefault(fields[image], len(boxes.images)))
                boxes.row.append(rows.line_num)
                boxes.group.append(group is not None and fields[group] == "1")
                boxes.corners.extend(corners)
        except csv.Error as error:
            raise AnnotationError(f"{path}, row {rows.line_num}: not CSV ({error}); download it again") from error
