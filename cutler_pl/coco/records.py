"""COCO records: grouped by image, with sizes corrected, missing fields filled in, as results."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import urlparse

from cutler_pl.coco import rle
from cutler_pl.coco.schema import Image, Result
from cutler_pl.coco.validation import InvalidRecords, image_fault, mask_size

_Record = TypeVar("_Record", bound=Mapping[str, Any])


def group_by_image(records: Iterable[_Record]) -> dict[int, list[_Record]]:
    """Annotations or results by image id, in their order."""
    groups: dict[int, list[_Record]] = {}
    for record in records:
        groups.setdefault(record["image_id"], []).append(record)
    return groups


def check_images(records: Iterable[Any], invalid: InvalidRecords) -> dict[int, Image]:
    """Sound image records by id, each with a file name.

    Raises:
        AnnotationError: A record is faulty or its id occurs twice, and the rule is to raise.
    """
    images: dict[int, Image] = {}
    for record in records:
        if fault := image_fault(record):
            invalid.add(fault)
        elif record["id"] in images:
            invalid.add(f"image id {record['id']} occurs more than once")
        else:
            images[record["id"]] = with_file_name(record)
    return images


def with_file_name(image: Mapping[str, Any]) -> Image:
    """LVIS v1 names its images by address only: the path of `coco_url` is the file below COCO's folder."""
    if isinstance(image.get("file_name"), str) and image["file_name"]:
        return cast(Image, image)
    return cast(Image, {**image, "file_name": urlparse(image["coco_url"]).path.lstrip("/")})


def fix_swapped_sizes(images: dict[int, Image], annotations: list[dict[str, Any]]) -> int:
    """Exchange width and height of the records that contradict their masks; return how many.

    Where all records that can be judged are exchanged, so are those of images without annotations: the whole file
    was written that way.
    """
    sizes: dict[int, set[tuple[int, int]]] = {}
    annotated = set()
    for annotation in annotations:
        annotated.add(annotation["image_id"])
        if size := mask_size(annotation):
            sizes.setdefault(annotation["image_id"], set()).add(size)
    oblong = [i for i, image in images.items() if image["height"] != image["width"] and i in sizes]
    swapped = [
        i
        for i in oblong
        if (images[i]["height"], images[i]["width"]) not in sizes[i]
        and (images[i]["width"], images[i]["height"]) in sizes[i]
    ]
    if swapped and len(swapped) == len(oblong):
        swapped += [i for i, image in images.items() if i not in annotated and image["height"] != image["width"]]
    for i in swapped:
        images[i] = cast(Image, {**images[i], "height": images[i]["width"], "width": images[i]["height"]})
    return len(swapped)


def fill_defaults(annotation: dict[str, Any], image: Image) -> dict[str, Any]:
    """Annotation with `iscrowd` and `area`; the same object if it has both."""
    if "iscrowd" in annotation and "area" in annotation:
        return annotation
    area = annotation.get("area")
    if area is None:
        segmentation = annotation.get("segmentation")
        area = float(
            rle.area(rle.to_rle(segmentation, image["height"], image["width"]))
            if segmentation
            else annotation["bbox"][2] * annotation["bbox"][3]
        )
    return {**annotation, "iscrowd": annotation.get("iscrowd", 0), "area": area}


def to_result(record: Mapping[str, Any], image: Image) -> Result:
    """Detection with a compressed mask, and the mask's tight box where it has none."""
    result: dict[str, Any] = {
        "image_id": record["image_id"],
        "category_id": record["category_id"],
        "bbox": record.get("bbox"),
        "score": record["score"],
    }
    if segmentation := record.get("segmentation"):
        mask = rle.to_rle(segmentation, image["height"], image["width"])
        result["segmentation"] = mask
        if result["bbox"] is None:
            result["bbox"] = rle.bbox(mask)
    return cast(Result, result)
