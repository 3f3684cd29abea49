"""KITTI's object labels: one text file per image, one object per line, boxes in pixels counted from 0.

DontCare lines have a valid box around what was not labelled; KITTI's own benchmark ignores detections there. All other
types are objects, Misc too. Labels hold no image sizes, so the images are read.
"""

from collections.abc import Iterator
from pathlib import Path

from cutler_pl.datasets.converters.image_folder import ImageFolder
from cutler_pl.datasets.converters.records import ImageRecord, MarkedPolicy, Record, SkippedRecord, Source, box_record

DONT_CARE = "DontCare region"
_COLUMNS = (15, 16)  # the 16th is a score, in files of detections


def read_kitti(source: Source) -> Iterator[Record]:
    """Read all label files (`label_2/*.txt`) by name; images are those of `image_2`."""
    folder = ImageFolder(source.images)
    for number, path in enumerate(sorted(source.annotations.glob("*.txt")), start=1):
        name = folder.find_stem(path.stem)
        image = folder.record(number, name, item=str(path), sought=f"{path.stem}.*", prefix=source.prefix)
        yield image
        if isinstance(image, ImageRecord):
            yield from _objects(path, image, source.marked)


def _objects(path: Path, image: ImageRecord, marked: MarkedPolicy) -> Iterator[Record]:
    for row, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        fields = line.split()
        item = f"{path}, line {row}"
        if not fields:
            continue
        try:
            box = [float(field) for field in fields[4:8]]
        except ValueError:
            box = []
        if len(fields) not in _COLUMNS or len(box) != 4:
            yield SkippedRecord("object", "line is not a label of 15 columns", f"{item}: {line[:80]!r}")
            continue
        policy = marked if fields[0].lower() == "dontcare" else None
        yield box_record(image, box, marked=policy, reason=DONT_CARE, item=item)
