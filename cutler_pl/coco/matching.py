"""Annotations of a file that numbers the same images differently, as MaskCut does, matched by file name."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from cutler_pl.coco.json_text import shown
from cutler_pl.coco.records import check_images, fix_swapped_sizes
from cutler_pl.coco.schema import Image
from cutler_pl.coco.validation import InvalidRecords, is_id, is_mapping, result_error, result_label

_EXAMPLES = 3


def to_results(coco: Mapping[str, Any], target: Sequence[Image], invalid: InvalidRecords) -> list[Any]:
    """Annotations of a COCO file as results with the image ids of another file; the score is 1 where there is none.

    Args:
        coco: Content of an annotation file; without a list of images its annotations have the other file's ids.
        target: Checked image records of the other file.
        invalid: List of what is left out, and the rule whether to raise.

    Raises:
        AnnotationError: An image has no match, or an annotation no image, and the rule is to raise.
    """
    records = [{"score": 1.0, **record} if is_mapping(record) else record for record in coco["annotations"]]
    if not isinstance(coco.get("images"), list):
        return records
    images = check_images(coco["images"], invalid)
    known = []
    for number, record in enumerate(records):
        image_id = record.get("image_id") if is_mapping(record) else None
        if is_mapping(record) and not (is_id(image_id) and image_id in images):
            invalid.add(f"{result_label(number, record)} is for the unknown image {shown(image_id)}")
        else:
            known.append(record)
    fix_swapped_sizes(images, [record for record in known if result_error(record) is None])
    ids = match_images(list(images.values()), target, invalid)
    return [
        {**record, "image_id": ids[record["image_id"]]} if is_mapping(record) else record
        for record in known
        if not is_mapping(record) or record["image_id"] in ids
    ]


def match_images(source: Sequence[Image], target: Sequence[Image], invalid: InvalidRecords) -> dict[int, int]:
    """Image ids of the source, each with the target's id of the same image.

    Two images are the same if their file names are equal as written, else if the longest path ending found on both
    sides is unique on both.

    Raises:
        AnnotationError: An image of the source has no match, several or one of another size, and the rule is to raise.
    """
    exact, own_exact = (_by(lambda name: [name], images) for images in (target, source))
    inexact = any(image["file_name"] not in exact for image in source)
    endings, own_endings = (_by(_endings, target), _by(_endings, source)) if inexact else ({}, {})
    matched: dict[int, int] = {}
    errors = []
    for image in source:
        name = image["file_name"]
        own, others = (own_exact, exact) if name in exact else (own_endings, endings)
        key = name if name in exact else next((ending for ending in _endings(name) if ending in endings), None)
        if key is None:
            errors.append(f"{name} is unknown")
        elif (match := own[key] and others[key]) is None:
            errors.append(f"{name} matches several images")
        elif (image["height"], image["width"]) != (match["height"], match["width"]):
            size = f"{image['height']}×{image['width']} pixels, {match['file_name']} {match['height']}×{match['width']}"
            errors.append(f"{name} has {size} (height×width)")
        else:
            matched[image["id"]] = match["id"]
    if errors and invalid.on_error == "raise":
        examples = "; ".join(errors[:_EXAMPLES]) + ("; …" if len(errors) > _EXAMPLES else "")
        invalid.add(f"{len(errors)} of {len(source)} images are not matched by file name: {examples}")
    for error in errors:
        invalid.add(error)
    return matched


def _by(keys: Callable[[str], Iterable[str]], images: Iterable[Image]) -> dict[str, Image | None]:
    """Images by the keys of their file names; None for a key of several images."""
    found: dict[str, Image | None] = {}
    for image in images:
        for key in keys(image["file_name"]):
            found[key] = None if key in found else image
    return found


def _endings(name: str) -> Iterator[str]:
    """Endings of a path from the longest, the path itself, to its last part."""
    while name:
        yield name
        name = name.partition("/")[2]
