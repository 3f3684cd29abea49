"""Datasets that are COCO files already: COCO, COCO20K, LVIS, Objects365, UVO. All categories become one.

The file is read in two passes, so it may be larger than memory. Ids, boxes, areas and masks stay as they are; what
breaks the format, or does not fit its image, is left out.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cutler_pl.coco import records, rle, validation
from cutler_pl.coco.bounds import Bounds
from cutler_pl.coco.schema import Image
from cutler_pl.coco.stream import read_records
from cutler_pl.datasets.converters.image_folder import ImageFolder
from cutler_pl.datasets.converters.records import NO_AREA, ImageRecord, ObjectRecord, Record, SkippedRecord, Source
from cutler_pl.errors import AnnotationError

CROWD = "marked as crowd"


@dataclass(frozen=True)
class Selection:
    """Ids of the images and categories wanted, None for all, and the file name of an image record."""

    images: Collection[int] | None = None
    categories: Collection[int] | None = None
    name_of: Callable[[Mapping[str, Any]], str] = lambda image: str(records.with_file_name(image)["file_name"])


def read_coco(source: Source, *, selection: Selection | None = None) -> Iterator[Record]:
    """Read a COCO file; its file names may have more leading folders than the images.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is not JSON or not COCO, or a wanted image is not in it.
    """
    wanted = selection or Selection()
    images: dict[int, ImageRecord | SkippedRecord] = {}
    yield from _images(source, wanted, images)
    seen: set[int] = set()
    for key, record in read_records(source.annotations):
        if key == "annotations":
            if (error := validation.annotation_error(record)) or record["id"] in seen:
                reason = "annotation breaks the format" if error else "annotation id occurs more than once"
                yield SkippedRecord("object", reason, f"{source.annotations}: {error or record['id']}")
                continue
            seen.add(record["id"])
            yield _object(record, images.get(record["image_id"]), source, wanted)


def _images(
    source: Source, wanted: Selection, images: dict[int, ImageRecord | SkippedRecord]
) -> Iterator[ImageRecord | SkippedRecord]:
    """Fill `images` with what becomes of each image, and yield it."""
    path, folder = source.annotations, ImageFolder(source.images)
    for key, record in read_records(path):
        if key != "images":
            continue
        if error := validation.image_error(record):
            yield SkippedRecord("image", "image record breaks the format", f"{path}: {error}")
        elif record["id"] in images:
            yield SkippedRecord("image", "image id occurs more than once", f"{path}: {record['id']}")
        else:
            images[record["id"]] = image = _image(record, folder, f"{path}: image {record['id']}", wanted)
            yield image
    for number in sorted(set(wanted.images or ()) - images.keys()):
        yield SkippedRecord("image", "on the id list, not in the file", f"{path}: no image {number}")


def _image(record: Mapping[str, Any], folder: ImageFolder, item: str, wanted: Selection) -> ImageRecord | SkippedRecord:
    if wanted.images is not None and record["id"] not in wanted.images:
        return SkippedRecord("image", "not on the id list", item, is_error=False)
    file_name = wanted.name_of(record)
    found = folder.find_path(file_name)
    annotated_hw = record["height"], record["width"]
    return folder.record(record["id"], found, item=item, sought=file_name, size_hw=annotated_hw)


def _object(
    record: dict[str, Any], image: ImageRecord | SkippedRecord | None, source: Source, wanted: Selection
) -> ObjectRecord | SkippedRecord:
    item = f"{source.annotations}: annotation {record['id']}"
    if image is None:
        return SkippedRecord("object", "its image is not in the file", f"{item} is for image {record['image_id']}")
    if isinstance(image, SkippedRecord):
        return SkippedRecord(
            "object", f"its image: {image.reason}", item if image.is_error else "", is_error=image.is_error
        )
    if wanted.categories is not None and record["category_id"] not in wanted.categories:
        return SkippedRecord("object", "category not wanted", "", is_error=False)
    crowd = record.get("iscrowd", 0) == 1
    if crowd and source.marked == "drop":
        return SkippedRecord("object", CROWD, item, is_error=False)
    checked = cast(Image, {"id": image.id, "height": image.height, "width": image.width})
    if error := _mask_error(record, checked):
        return SkippedRecord("object", "mask does not fit its image", f"{item} {error}")
    if validation.is_empty(record, checked):
        return SkippedRecord("object", NO_AREA, f"{item}: {record['bbox']}")
    filled = records.fill_defaults(record, checked)
    crowd = crowd and source.marked == "ignore"
    return ObjectRecord(image.id, filled["bbox"], filled["area"], crowd, filled.get("segmentation"), filled["id"])


def _mask_error(record: Mapping[str, Any], image: Image) -> str | None:
    mask: Any = record.get("segmentation")
    if validation.is_mapping(mask) and isinstance(mask["counts"], str) and not rle.are_consistent([mask])[0]:
        return "has run lengths that do not add up to its size"
    return validation.mask_size_mismatch(record, image) or validation.far_from_image(record, image, Bounds.current())


def read_categories(source: Path) -> list[dict[str, Any]]:
    """The categories of a COCO file.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is not JSON or not COCO, or a category breaks the format.
    """
    categories = [record for key, record in read_records(source) if key == "categories"]
    for record in categories:
        if error := validation.category_error(record):
            raise AnnotationError(f"{source}: {error}; download it again")
    return categories
