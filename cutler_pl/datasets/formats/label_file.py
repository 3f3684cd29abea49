"""What is exported: a COCO file, or the results of `cutler predict`, image by image, in memory that does not grow."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

from cutler_pl.coco import rle
from cutler_pl.coco.file_names import NAMES_WAY_OUT, leads_out, may_lead_out
from cutler_pl.coco.grouped_file import GroupedFile
from cutler_pl.coco.json_text import shown
from cutler_pl.coco.schema import RLE, Annotation, Category, Image
from cutler_pl.coco.sorted_records import SortedRecords
from cutler_pl.coco.stream import Batch, images_first, is_list, read_list
from cutler_pl.coco.validation import InvalidRecords, OnError, is_empty, is_mapping
from cutler_pl.errors import AnnotationError, DatasetNotFoundError
from cutler_pl.images import read_image_size
from cutler_pl.runtime.files import is_file
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

IMAGES_OF_RESULTS = "images.json"
"""File beside a list of results that has their images and categories, as `cutler predict` writes it."""


class LabeledObject(NamedTuple):
    """An annotation, and its mask if it has more than a box."""

    record: Annotation
    mask: RLE | None


class LabeledImage(NamedTuple):
    """An image record, its file, and its objects, in the order of the annotations.

    The `file_name` of the record is relative to the image folder, with no `..`, whatever was given.
    """

    record: Image
    path: Path
    objects: list[LabeledObject]


class LabelFile:
    """Checked labels, to be iterated over once; a context manager, since it sorts in temporary files.

    Args:
        annotations: COCO annotations, or COCO results with `images.json` beside them.
        images: Folder that the file names are relative to.
        temporary: Folder for the temporary files.
        on_error: What is done about records that do not fit.

    Attributes:
        categories: By ascending id; the n-th of them is class n.
        left_out: Number of objects that were not given out, by reason.

    Raises:
        DatasetNotFoundError: A file is not there.
        AnnotationError: The file is not COCO, or a record is invalid and the rule is to raise.
    """

    def __init__(self, annotations: Path, images: Path, *, temporary: Path, on_error: OnError = "raise") -> None:
        self.source, self.folder = annotations, images
        self.left_out: Counter[str] = Counter()
        self.num_images = self.num_objects = 0
        self._invalid = InvalidRecords(str(annotations), on_error)
        with ExitStack() as stack:
            sorted_images, sorted_annotations = (stack.enter_context(SortedRecords(temporary)) for _ in range(2))
            self._grouped = GroupedFile(_parts(annotations), sorted_images, sorted_annotations, self._invalid)
            self._stack = stack.pop_all()
        found = cast(list[Category], self._grouped.header["categories"])
        self.categories = sorted(found, key=lambda category: category["id"])
        self.header: Mapping[str, Any] = self._grouped.header

    def __enter__(self) -> "LabelFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def images(self) -> Iterator[Image]:
        """All image records."""
        return map(self._with_name_below, self._grouped.each_image())

    def check(self) -> None:
        """Make sure that class names are usable and that each image has the annotated size, before anything is written.

        Raises:
            AnnotationError: A name leads out of the folder, a size differs, or a class has no name of its own.
            ImageReadError: An image is missing, or cannot be read.
        """
        names = Counter(category["name"] for category in self.categories)
        for name, count in names.items():
            if not name.strip() or "\0" in name:
                raise AnnotationError(f"{self.source}: a category has the name {shown(name)}; give it a name to show")
            if count > 1:
                raise AnnotationError(
                    f"{self.source}: {count} categories have the name {shown(name)}, which tools take for one; rename "
                    "all but one of them"
                )
        for image in self.images():
            path = self.folder / image["file_name"]
            height, width = read_image_size(path)
            if (height, width) != (image["height"], image["width"]):
                raise AnnotationError(
                    f"{path}: the image has {height}×{width} pixels upright, but {image['height']}×{image['width']} "
                    f"(height×width) in {self.source}; they belong to another version of the image"
                )

    def __iter__(self) -> Iterator[LabeledImage]:
        for group in self._grouped.groups():
            by_image: dict[int, list[Annotation]] = {image["id"]: [] for image in group.coco["images"]}
            for record in group.coco["annotations"]:
                by_image[record["image_id"]].append(record)
            for image in map(self._with_name_below, group.coco["images"]):
                objects = self._objects(image, by_image[image["id"]])
                self.num_images += 1
                self.num_objects += len(objects)
                yield LabeledImage(image, self.folder / image["file_name"], objects)

    def report(self, what: str) -> None:
        """Log what was written."""
        self._invalid.report()
        reasons = "; ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        counts = f"{self.num_objects} objects of {self.num_images} images"
        log.info("%s: %s%s", what, counts, f"; left out: {reasons}" if reasons else "")

    def _objects(self, image: Image, records: Sequence[Annotation]) -> list[LabeledObject]:
        size = image["height"], image["width"]
        masks = [
            rle.to_rle(record["segmentation"], *size) if record.get("segmentation") else None for record in records
        ]
        areas = iter(rle.areas([mask for mask in masks if mask is not None]).tolist())
        objects = []
        for record, mask in zip(records, masks, strict=True):
            if mask is not None and not next(areas):
                self.left_out["masks without a pixel"] += 1
            elif mask is None and is_empty(record, image):
                self.left_out["boxes without area in their image"] += 1
            else:
                objects.append(LabeledObject(record, mask))
        return objects

    def _with_name_below(self, image: Image) -> Image:
        name = image["file_name"]
        if leads_out(self.folder, name):
            raise AnnotationError(
                f"{self.source}: image {image['id']} has the file_name {shown(name)}, which leads out of the image "
                f"folder {self.folder}; {NAMES_WAY_OUT}"
            )
        top, path = (os.path.normpath(Path.cwd() / self.folder / part) for part in ("", name))
        relative = Path(path).relative_to(top).as_posix() if may_lead_out(name) or "." in name.split("/") else name
        return image if relative == name else cast(Image, {**image, "file_name": relative})

    def without_crowds(self) -> Iterator[LabeledImage]:
        """As iterating, for formats that have no crowd regions."""
        for image in self:
            objects = [found for found in image.objects if not found.record["iscrowd"]]
            if crowds := len(image.objects) - len(objects):
                self.left_out["crowd regions, which the format does not have"] += crowds
                self.num_objects -= crowds
            yield image._replace(objects=objects)


def label_name(image: Image, names: dict[str, str], source: Path) -> str:
    """Name of an image's label file without its ending.

    Args:
        image: The record.
        names: Image by label file, of all before; this one is added.
        source: Where it comes from.

    Raises:
        AnnotationError: Another image has the same.
    """
    name = str(PurePosixPath(image["file_name"]).with_suffix(""))
    if name in names:
        raise AnnotationError(
            f"{source}: {names[name]} and {image['file_name']} would have the same label file {name}; rename one"
        )
    names[name] = image["file_name"]
    return name


def clipped_box(image: Image, record: Annotation) -> tuple[float, float, float, float]:
    """Corners of an object's box within its image, xyxy."""
    x, y, width, height = map(float, record["bbox"])
    limits = float(image["width"]), float(image["height"])
    return max(x, 0.0), max(y, 0.0), min(x + width, limits[0]), min(y + height, limits[1])


def _parts(annotations: Path) -> Iterator[tuple[str, Any]]:
    if not is_file(annotations) or not is_list(annotations):
        yield from images_first(annotations)
        return
    beside = annotations.with_name(IMAGES_OF_RESULTS)
    if not is_file(beside):
        raise DatasetNotFoundError(
            f"{annotations}: a list of results, whose images and categories are looked for in {beside}; put the "
            "file of cutler predict there, or give a COCO annotation file"
        )
    for key, part in images_first(beside):
        if key != "annotations":
            yield key, part
    number = 0
    for results in read_list(annotations):
        numbered = Batch()
        for result in results:
            number += 1
            numbered.append({"iscrowd": 0, **result, "id": number} if is_mapping(result) else result)
        yield "annotations", numbered
    yield "annotations", Batch()
