"""The objects of a COCO file of any size, group by group of images."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cutler_pl.coco.grouped_file import GroupedFile
from cutler_pl.coco.sorted_records import SortedRecords
from cutler_pl.coco.stream import images_first
from cutler_pl.coco.validation import InvalidRecords, OnError
from cutler_pl.errors import AnnotationError


@contextmanager
def grouped_file(annotations: Path, scratch: Path, *, on_error: OnError) -> Iterator[GroupedFile]:
    """The file, sorted by image in temporary files of the folder `scratch`.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is not COCO, or a record is invalid and `on_error` is "raise".
    """
    with SortedRecords(scratch) as images, SortedRecords(scratch) as objects:
        yield GroupedFile(images_first(annotations), images, objects, InvalidRecords(str(annotations), on_error))


def is_object(annotation: Any, *, source_name: object) -> bool:
    """Whether an annotation is of one object, not of a crowd.

    Raises:
        AnnotationError: It is, and has no mask.
    """
    if annotation["iscrowd"]:
        return False
    if not annotation.get("segmentation"):
        raise AnnotationError(
            f"{source_name}: annotation {annotation['id']} has a box but no segmentation, and features are those "
            "inside of masks; give a file with masks, such as that of `cutler maskcut`"
        )
    return True
