"""Datasets that are COCO files already: COCO, COCO20K, LVIS, Objects365, UVO. All categories become one.

The file is read in two passes, so it may be larger than memory. Ids, boxes, areas and masks stay as they are; what
breaks the format, or does not fit its image, is left out.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cutler_pl.coco import records, rle, validation
from cutler_pl.coco.schema import Image
from cutler_pl.coco.stream import read_records
from cutler_pl.datasets.converters.photos import ImageFolder
from cutler_pl.datasets.converters.records import NO_AREA, Found, Marked, Photo, Record, Skipped
from cutler_pl.errors import AnnotationError

CROWD = "marked as crowd"


@dataclass(frozen=True)
class Selection:
    """What of a file is wanted, and under which names.

    Attributes:
        images: Ids of the images; all where None.
        categories: Ids of the categories; all where None.
        name_of: File name of an image record, relative to the photo folder.
    """

    images: Collection[int] | None = None
    categories: Collection[int] | None = None
    name_of: Callable[[Mapping[str, Any]], str] = lambda image: str(records.with_file_name(image)["file_name"])


def read_coco(
    source: Path, *, photos: Path | None, marked: Marked, selection: Selection | None = None
) -> Iterator[Record]:
    """Read a COCO file.

    Args:
        source: The file.
        photos: Folder that file names are relative to, maybe without their first parts; not looked at if None.
        marked: What becomes of crowds; "ignore" leaves them as they are.
        selection: What is wanted.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is not JSON or not COCO, or a wanted image is not in it.
    """
    wanted = selection or Selection()
    images: dict[int, Photo | Skipped] = {}
    yield from _images(source, ImageFolder(photos), wanted, images)
    seen: set[int] = set()
    for key, record in read_records(source):
        if key == "annotations":
            if (fault := validation.annotation_fault(record)) or record["id"] in seen:
                reason = "annotation breaks the format" if fault else "annotation id occurs more than once"
                yield Skipped("object", reason, f"{source}: {fault or record['id']}")
                continue
            seen.add(record["id"])
            item = f"{source}: annotation {record['id']}"
            yield _object(record, images.get(record["image_id"]), item, wanted, marked)


def _images(
    source: Path, photos: ImageFolder, wanted: Selection, images: dict[int, Photo | Skipped]
) -> Iterator[Photo | Skipped]:
    """Fill `images` with what becomes of each image, and yield it."""
    for key, record in read_records(source):
        if key != "images":
            continue
        if fault := validation.image_fault(record):
            yield Skipped("image", "image record breaks the format", f"{source}: {fault}")
        elif record["id"] in images:
            yield Skipped("image", "image id occurs more than once", f"{source}: {record['id']}")
        else:
            images[record["id"]] = photo = _photo(record, photos, f"{source}: image {record['id']}", wanted)
            yield photo
    for number in sorted(set(wanted.images or ()) - images.keys()):
        yield Skipped("image", "on the id list, not in the file", f"{source}: no image {number}")


def _photo(record: Mapping[str, Any], photos: ImageFolder, item: str, wanted: Selection) -> Photo | Skipped:
    if wanted.images is not None and record["id"] not in wanted.images:
        return Skipped("image", "not on the id list", item, fault=False)
    name = wanted.name_of(record)
    place = photos.place_of(name)
    if place is None:
        return Skipped("image", "photo missing", f"{item}: no photo {name} in {photos.folder}")
    size, told = photos.size_of(place), (record["height"], record["width"])
    if isinstance(size, str):
        return Skipped("image", "photo not readable", size)
    if size is not None and size != told:
        return Skipped("image", "image size mismatch", f"{item}: says {told}, the photo has {size} (height, width)")
    return Photo(record["id"], place, *told)


def _object(
    record: dict[str, Any], photo: Photo | Skipped | None, item: str, wanted: Selection, marked: Marked
) -> Found | Skipped:
    if photo is None:
        return Skipped("object", "its image is not in the file", f"{item} is for image {record['image_id']}")
    if isinstance(photo, Skipped):
        return Skipped("object", f"its image: {photo.reason}", item if photo.fault else "", fault=photo.fault)
    if wanted.categories is not None and record["category_id"] not in wanted.categories:
        return Skipped("object", "category not wanted", "", fault=False)
    crowd = record.get("iscrowd", 0) == 1
    if crowd and marked == "drop":
        return Skipped("object", CROWD, item, fault=False)
    image = cast(Image, {"id": photo.id, "height": photo.height, "width": photo.width})
    if fault := _fault(record, image):
        return Skipped("object", "mask does not fit its image", f"{item} {fault}")
    if validation.is_empty(record, image):
        return Skipped("object", NO_AREA, f"{item}: {record['bbox']}")
    whole = records.fill_defaults(record, image)
    return Found(
        photo.id, whole["bbox"], whole["area"], crowd and marked == "ignore", whole.get("segmentation"), whole["id"]
    )


def _fault(record: Mapping[str, Any], image: Image) -> str | None:
    mask: Any = record.get("segmentation")
    if validation.is_mapping(mask) and isinstance(mask["counts"], str) and not rle.are_consistent([mask])[0]:
        return "has run lengths that do not add up to its size"
    return validation.mask_size_mismatch(record, image)


def read_categories(source: Path) -> list[dict[str, Any]]:
    """The categories of a COCO file.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is not JSON or not COCO, or a category breaks the format.
    """
    categories = [record for key, record in read_records(source) if key == "categories"]
    for record in categories:
        if fault := validation.category_fault(record):
            raise AnnotationError(f"{source}: {fault}; download it again")
    return categories
