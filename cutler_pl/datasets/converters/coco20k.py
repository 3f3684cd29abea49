"""COCO20K: the 19,817 images of train2014 that the literature lists, with all their objects.

The list (`coco_20k_filenames.txt` of LOST and TokenCut) has one path per line, such as
`train2014/COCO_train2014_000000560992.jpg`; the number in it is COCO's image id.
"""

import re
from pathlib import Path

from cutler_pl.errors import AnnotationError, DatasetNotFoundError

_NUMBER = re.compile(r"(\d+)(\.\w+)?$")


def read_ids(path: Path) -> frozenset[int]:
    """Image ids of a list of COCO file names or of plain ids.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: A line does not end in a number and a suffix, or there is none.
    """
    if not path.is_file():
        raise DatasetNotFoundError(f"{path}: no such list of images; give ids=<coco_20k_filenames.txt>")
    ids = set()
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        found = _NUMBER.search(line.strip())
        if found is None:
            raise AnnotationError(
                f"{path}, line {number}: {line[:80]!r} names no COCO image; expected lines such as "
                "train2014/COCO_train2014_000000560992.jpg"
            )
        ids.add(int(found.group(1)))
    if not ids:
        raise AnnotationError(f"{path}: the list is empty; expected one file name per line")
    return frozenset(ids)
