"""KITTI's object labels: one text file a photo, one object a line, corners in pixels counted from 0.

DontCare lines have a valid box around what was not labelled; KITTI's own benchmark counts detections there neither
as right nor as wrong. All other types are objects, Misc too. Labels hold no image sizes, so photos are needed.
"""

from collections.abc import Iterator
from pathlib import Path

from cutler_pl.datasets.converters.photos import ImageFolder
from cutler_pl.datasets.converters.records import Marked, Photo, Record, Skipped, box_of

DONT_CARE = "DontCare region"
_COLUMNS = (15, 16)  # the 16th is a score, in files of detections


def read_kitti(labels: Path, *, photos: Path, prefix: str, marked: Marked) -> Iterator[Record]:
    """Read all label files of a folder in the order of their names.

    Args:
        labels: Folder `label_2`.
        photos: Folder `image_2`.
        prefix: What comes before the photo's name in the file name.
        marked: What becomes of DontCare regions.
    """
    found = ImageFolder(photos)
    for number, path in enumerate(sorted(labels.glob("*.txt")), start=1):
        name = found.name_of(path.stem)
        size = None if name is None else found.size_of(name)
        if name is None or size is None:
            yield Skipped("image", "photo missing", f"{path}: no photo {path.stem}.* in {photos}")
        elif isinstance(size, str):
            yield Skipped("image", "photo not readable", size)
        else:
            photo = Photo(number, prefix + name, *size)
            yield photo
            yield from _objects(path, photo, marked)


def _objects(path: Path, photo: Photo, marked: Marked) -> Iterator[Record]:
    for row, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        fields = line.split()
        item = f"{path}, line {row}"
        if not fields:
            continue
        try:
            corners = [float(field) for field in fields[4:8]]
        except ValueError:
            corners = []
        if len(fields) not in _COLUMNS or len(corners) != 4:
            yield Skipped("object", "line is not a label of 15 columns", f"{item}: {line[:80]!r}")
            continue
        ignored = marked if fields[0].lower() == "dontcare" else None
        yield box_of(photo, corners, marked=ignored, reason=DONT_CARE, item=item)
