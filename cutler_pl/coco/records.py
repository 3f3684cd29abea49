"""COCO records beside each other: masks against image sizes, boxes against image borders, missing fields filled in."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import urlparse

from cutler_pl.coco import rle
from cutler_pl.coco.checks import is_mapping
from cutler_pl.coco.schema import Image, Result

_Record = TypeVar("_Record", bound=Mapping[str, Any])


def group_by_image(records: Iterable[_Record]) -> dict[int, list[_Record]]:
    """Annotations or results by image id, in their order."""
    groups: dict[int, list[_Record]] = {}
    for record in records:
        groups.setdefault(record["image_id"], []).append(record)
    return groups


def with_file_name(image: Mapping[str, Any]) -> Image:
    """LVIS v1 names its images by address only: the path of `coco_url` is the file below COCO's folder."""
    if isinstance(image.get("file_name"), str) and image["file_name"]:
        return cast(Image, image)
    return cast(Image, {**image, "file_name": urlparse(image["coco_url"]).path.lstrip("/")})


def invalid_rles(records: Sequence[Mapping[str, Any]]) -> list[int]:
    """Positions of the records whose compressed run lengths do not add up to their size."""
    compressed = [i for i, record in enumerate(records) if _is_compressed(record)]
    sound = rle.are_consistent([records[i]["segmentation"] for i in compressed])
    return [i for i, fine in zip(compressed, sound.tolist(), strict=True) if not fine]


def mask_size(record: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of the record's run-length mask; None for polygons and plain boxes."""
    segmentation: Any = record.get("segmentation")
    return (segmentation["size"][0], segmentation["size"][1]) if is_mapping(segmentation) else None


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


def mask_size_mismatch(record: Mapping[str, Any], image: Image) -> str | None:
    """Fault of a mask that has another size than its image."""
    size = mask_size(record)
    if size is None or size == (image["height"], image["width"]):
        return None
    return (
        f"has a mask of {size[0]}×{size[1]} pixels, but image {image['id']} has "
        f"{image['height']}×{image['width']} (height×width)"
    )


def outside(record: Mapping[str, Any], image: Image) -> str | None:
    """Fault of a box that shares not even an edge with its image."""
    box = record.get("bbox")
    if box is None:
        return None
    x, y, width, height = box
    if x <= image["width"] and y <= image["height"] and x + width >= 0 and y + height >= 0:
        return None
    return f"has the box {box!r} outside its image of {image['height']}×{image['width']} pixels (height×width)"


def is_empty(annotation: Mapping[str, Any], image: Image) -> bool:
    """Whether an annotation's box has no area inside its image."""
    x, y, width, height = annotation["bbox"]
    in_x = min(x + width, image["width"]) > max(x, 0)
    return not (in_x and min(y + height, image["height"]) > max(y, 0))


def complete(annotation: dict[str, Any], image: Image) -> dict[str, Any]:
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


def _is_compressed(record: Mapping[str, Any]) -> bool:
    segmentation: Any = record.get("segmentation")
    return is_mapping(segmentation) and not isinstance(segmentation["counts"], list)
