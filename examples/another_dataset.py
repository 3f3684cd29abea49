"""A dataset of your own format as a COCO file, here a table of boxes: file,left,top,right,bottom.

python examples/another_dataset.py <table.csv> <images> <annotations.json>
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from cutler_pl.datasets.converters import ImageRecord, Record, write_records
from cutler_pl.datasets.converters.image_folder import ImageFolder
from cutler_pl.datasets.converters.records import box_record


def read_table(table: Path, images: Path) -> Iterator[Record]:
    """Each image, then its boxes; what is missing or broken becomes a record of what was skipped."""
    boxes: dict[str, list[list[float]]] = defaultdict(list)
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            boxes[row["file"]].append([float(row[side]) for side in ("left", "top", "right", "bottom")])
    folder = ImageFolder(images)
    for number, name in enumerate(sorted(boxes), start=1):
        image = folder.record(number, folder.find_path(name), item=f"{table}: {name}", sought=name)
        yield image
        if isinstance(image, ImageRecord):
            for box in boxes[name]:
                yield box_record(image, box, marked=None, reason="", item=f"{table}: {name}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: {__doc__.splitlines()[2]}")
    table, images, output = map(Path, sys.argv[1:])
    report = write_records(
        read_table(table, images),
        output,
        skipped=output.with_suffix(".skipped.jsonl"),
        info={"description": "boxes of a table"},
        max_failure_rate=0.1,  # with more missing or broken than this, no file is written
    )
    print(f"{report.images} images, {report.annotations} boxes, {sum(report.skipped.values())} records skipped")
