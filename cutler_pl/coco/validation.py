"""Validation of COCO records: a check returns the error as part of a sentence, or None; `InvalidRecords` decides."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from numbers import Integral, Real
from sys import float_info
from typing import Any, Literal

from cutler_pl.coco import rle
from cutler_pl.coco.bounds import MAX_ID, MAX_PIXELS, Bounds, far_error, polygons_error
from cutler_pl.coco.confidence import confidence_error
from cutler_pl.coco.file_names import file_name, is_text, name_error
from cutler_pl.coco.json_text import kind, shown
from cutler_pl.coco.schema import Image
from cutler_pl.errors import AnnotationError
from cutler_pl.runtime.logging import get_logger

OnError = Literal["raise", "skip"]
"""What to do about an invalid record: raise an `AnnotationError`, or leave it out and list it."""

_log = get_logger(__name__)


SKIP = "repair it, or leave it out by on_error=skip"


class InvalidRecords:
    """One reason for each record left out of a source, and the rule: raise or skip."""

    def __init__(self, source_name: str, on_error: OnError, way_out: str = SKIP) -> None:
        self.source_name, self.on_error, self.way_out = source_name, on_error, way_out
        self.reasons: list[str] = []

    def add(self, reason: str) -> None:
        """List an invalid record.

        Raises:
            AnnotationError: The rule is to raise.
        """
        if self.on_error == "raise":
            raise AnnotationError(f"{self.source_name}: {reason}; {self.way_out}")
        self.reasons.append(reason)

    def note(self, reason: str) -> None:
        """List a record that is left out under either rule."""
        self.reasons.append(reason)

    def report(self) -> None:
        """Log how many records were left out, and the first ten reasons."""
        if self.reasons:
            shown = "; ".join(self.reasons[:10]) + ("; …" if len(self.reasons) > 10 else "")
            _log.warning("%s: %d records left out: %s", self.source_name, len(self.reasons), shown)


def image_error(image: Any) -> str | None:
    """Error in an image record on its own."""
    if not is_mapping(image):
        return f"an image record is {kind(image)}, not an object"
    if not is_id(image.get("id")):
        return f"an image record {_no_id('id', image)}"
    for key in ("height", "width"):
        if not is_integer(image.get(key)) or image[key] < 1:
            return f"image {image['id']} has no positive integer {key}, but {shown(image.get(key))}"
    if image["height"] * image["width"] > MAX_PIXELS:
        size = f"{shown(image['height'])}×{shown(image['width'])}"
        return f"image {image['id']} has {size} pixels (height×width); {MAX_PIXELS:,} in all is the most"
    name = file_name(image)
    error = "has neither file_name nor coco_url" if name is None else name_error(name)
    return error and f"image {image['id']} {error}"


def category_error(category: Any) -> str | None:
    """Error in a category record on its own."""
    if not is_mapping(category):
        return f"a category record is {kind(category)}, not an object"
    name = category.get("name")
    if not is_id(category.get("id")) or not isinstance(name, str):
        return f"category {shown(category.get('id'))} needs an integer id and a name"
    return None if is_text(name) else f"category {category['id']} has the name {shown(name)}, which is no valid text"


def annotation_error(annotation: Any) -> str | None:
    """Error in an annotation record on its own, apart from the image it belongs to."""
    if not is_mapping(annotation):
        return f"an annotation record is {kind(annotation)}, not an object"
    if not is_id(annotation.get("id")):
        return f"an annotation record {_no_id('id', annotation)}"
    name = f"annotation {annotation['id']}"
    for key in ("image_id", "category_id"):
        if not is_id(annotation.get(key)):
            return f"{name} {_no_id(key, annotation)}"
    if annotation.get("iscrowd", 0) not in (0, 1):
        return f"{name} has iscrowd {shown(annotation['iscrowd'])}, not 0 or 1"
    if "area" in annotation and not is_finite_number(annotation["area"]):
        return f"{name} has the area {shown(annotation['area'])}, not a number"
    if "score" in annotation and not _is_share(annotation["score"]):
        return f"{name} has the score {shown(annotation['score'])}, not a number from 0 to 1"
    error = box_error(annotation.get("bbox")) or segmentation_error(annotation.get("segmentation"))
    if error is None and "confidence_map" in annotation:
        error = confidence_error(annotation["confidence_map"])
    return f"{name} {error}" if error else None


def box_error(bbox: Any) -> str | None:
    """Error in an `[x, y, width, height]` box; a size of zero is none here."""
    if not isinstance(bbox, list | tuple) or len(bbox) != 4 or not _are_finite(bbox):
        return f"has the box {shown(bbox)}, not four finite numbers [x, y, width, height]"
    if bbox[2] < 0 or bbox[3] < 0:
        return f"has the box {shown(bbox)} of negative size"
    return None


def segmentation_error(segmentation: Any) -> str | None:
    """Error in the form of a segmentation; compressed counts are checked by `rle.are_consistent`."""
    if segmentation is None:
        return None
    if isinstance(segmentation, list):
        return None if all(map(_is_polygon, segmentation)) else "has a polygon that is not 3 or more finite points"
    if not is_mapping(segmentation):
        return f"has a segmentation that is {kind(segmentation)}, neither polygons nor run lengths"
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list | tuple) or len(size) != 2 or not (_is_length(size[0]) and _is_length(size[1])):
        return f"has run lengths of the size {shown(size)}, not [height, width]"
    if size[0] * size[1] > MAX_PIXELS:
        return f"has run lengths of {shown(size[0])}×{shown(size[1])} pixels; {MAX_PIXELS:,} is the most"
    if isinstance(counts, list):
        if not all(is_integer(n) and n >= 0 for n in counts) or sum(counts) != size[0] * size[1]:
            return f"has run lengths that do not add up to its size {size[0]}×{size[1]}"
    elif not isinstance(counts, str | bytes):
        return f"has run lengths that are {kind(counts)}, neither a string nor a list"
    return None


def result_error(result: Any) -> str | None:
    """Error in a detection on its own; `score` must be there, `bbox` may be missing beside a segmentation."""
    if not is_mapping(result):
        return f"is {kind(result)}, not an object"
    for key in ("image_id", "category_id"):
        if not is_id(result.get(key)):
            return _no_id(key, result)
    if not is_finite_number(result.get("score")):
        return f"has the score {shown(result.get('score'))}, not a finite number"
    if error := segmentation_error(result.get("segmentation")):
        return error
    return None if result.get("bbox") is None and result.get("segmentation") else box_error(result.get("bbox"))


def mask_size_mismatch(record: Mapping[str, Any], image: Image) -> str | None:
    """Error of a mask whose size differs from its image's."""
    size = mask_size(record)
    if size is None or size == (image["height"], image["width"]):
        return None
    image_size = f"image {image['id']} has {image['height']}×{image['width']} (height×width)"
    return f"has a mask of {size[0]}×{size[1]} pixels, but {image_size}"


def far_from_image(record: Mapping[str, Any], image: Image, bounds: Bounds) -> str | None:
    """Error of a box or polygon far outside its image, or of polygons too long for it."""
    height, width = image["height"], image["width"]
    if (box := record.get("bbox")) is not None:
        longer_side = max(height, width)
        x, y, box_width, box_height = box
        if not (bounds.contain(x, x + box_width, longer_side) and bounds.contain(y, y + box_height, longer_side)):
            return far_error(f"has the box {shown(box)}", height, width)
    segmentation = record.get("segmentation")
    return polygons_error(segmentation, height, width, bounds) if isinstance(segmentation, list) else None


def box_outside_image(record: Mapping[str, Any], image: Image) -> str | None:
    """Error of a box that does not touch its image."""
    if (box := record.get("bbox")) is None:
        return None
    x, y, width, height = box
    if x <= image["width"] and y <= image["height"] and x + width >= 0 and y + height >= 0:
        return None
    return f"has the box {shown(box)} outside its image of {image['height']}×{image['width']} pixels (height×width)"


def is_empty(annotation: Mapping[str, Any], image: Image) -> bool:
    """Whether an annotation's box has no area inside its image."""
    x, y, width, height = annotation["bbox"]
    return not has_area_inside(x, y, width, height, image)


def has_area_inside(x: Any, y: Any, width: Any, height: Any, image: Mapping[str, Any]) -> Any:
    """Whether boxes have area inside their images; all may be numbers or arrays."""
    in_x = (x + width > x) & (x + width > 0) & (x < image["width"])
    return in_x & (y + height > y) & (y + height > 0) & (y < image["height"])


def with_valid_rles(
    records: list[dict[str, Any]], invalid: InvalidRecords, label: Callable[[Mapping[str, Any]], str]
) -> list[dict[str, Any]]:
    """Records without those whose compressed run lengths are invalid; all are checked in one call, which is fast.

    Raises:
        AnnotationError: There are such records, and the rule is to raise.
    """
    compressed = [i for i, record in enumerate(records) if _is_compressed(record)]
    valid = rle.are_consistent([records[i]["segmentation"] for i in compressed]).tolist()
    broken = {i for i, fine in zip(compressed, valid, strict=True) if not fine}
    for i in sorted(broken):
        height, width = records[i]["segmentation"]["size"]
        invalid.add(f"{label(records[i])} has run lengths that do not add up to its size {height}×{width}")
    return [record for i, record in enumerate(records) if i not in broken] if broken else records


def detection_label(result: Mapping[str, Any]) -> str:
    """Name of a checked detection in messages."""
    return f"the detection of score {result['score']} (image {result['image_id']})"


def annotation_label(annotation: Mapping[str, Any]) -> str:
    """Name of an annotation in messages."""
    return f"annotation {annotation['id']} (image {annotation['image_id']})"


def mask_size(record: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of the record's run-length mask; None for polygons and plain boxes."""
    segmentation: Any = record.get("segmentation")
    return (segmentation["size"][0], segmentation["size"][1]) if is_mapping(segmentation) else None


def result_label(number: int, record: Any) -> str:
    """Name of a detection in messages: its position in the list, or its id where it is an annotation."""
    return f"annotation {shown(record['id'])}" if is_mapping(record) and "id" in record else f"detection {number}"


def is_mapping(value: Any) -> bool:
    """Whether a value is a mapping; the test for a plain dict is fast, which matters for millions of records."""
    return type(value) is dict or isinstance(value, Mapping)


def is_integer(value: Any) -> bool:
    """Whether a value is an integer of Python or NumPy, and not a bool."""
    return type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))


def is_id(value: Any) -> bool:
    """Whether a value is an integer of 64 bits, and not a bool."""
    return is_integer(value) and bool(-MAX_ID <= value <= MAX_ID)


def is_finite_number(value: Any) -> bool:
    """Whether a value is a finite number of Python or NumPy that a float can hold, and not a bool."""
    number = type(value)
    if number is float:
        return isfinite(value)
    real = number is int or (isinstance(value, Real) and number is not bool)
    return real and bool(-float_info.max <= value <= float_info.max)


def _is_share(value: Any) -> bool:
    return is_finite_number(value) and bool(0 <= value <= 1)


def _no_id(key: str, record: Mapping[str, Any]) -> str:
    size = " within 64 bits" if is_integer(record.get(key)) else ""
    return f"has no integer {key}{size}, but {shown(record.get(key))}"


def _is_length(value: Any) -> bool:
    return is_integer(value) and value > 0


def _is_polygon(polygon: Any) -> bool:
    return isinstance(polygon, list | tuple) and len(polygon) >= 6 and len(polygon) % 2 == 0 and _are_finite(polygon)


def _are_finite(numbers: Sequence[Any]) -> bool:
    try:
        return isfinite(sum(numbers))  # finite only if each number is; anything else ends in a TypeError
    except (TypeError, OverflowError):
        return False


def _is_compressed(record: Mapping[str, Any]) -> bool:
    segmentation: Any = record.get("segmentation")
    return is_mapping(segmentation) and not isinstance(segmentation["counts"], list)
