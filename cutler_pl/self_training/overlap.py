"""The rule of section 3.4 of the paper, for the images at hand: what predictions replace, and what they add."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Int64

from cutler_pl.coco import rle
from cutler_pl.coco.io import check_results
from cutler_pl.coco.records import group_by_image
from cutler_pl.coco.schema import Coco, Image, Result
from cutler_pl.coco.validation import InvalidRecords, detection_label, mask_size, result_error

REPLACE_IOU = 0.5
"""Mask IoU with a kept prediction from which on an annotation of the round before is replaced."""

_Record = TypeVar("_Record", bound=Mapping[str, Any])
_Boxes = Int64[np.ndarray, "_ 4"]


@dataclass(frozen=True)
class MergedImages:
    """Images with corrected sizes, ids of annotations that stay, and results that become annotations, by image.

    `replaced` annotations are overlapped by a result; `empty` ones, and `empty` results, have a mask without area.
    """

    images: list[Image]
    kept_ids: list[int]
    added: list[Result]
    replaced: int
    empty: int


def merge_images(coco: Coco, chosen: Iterable[tuple[int, Any]], invalid: InvalidRecords) -> MergedImages:
    """Merge checked annotations of some images with the chosen predictions for them.

    Args:
        coco: The images, all annotations of them, and all categories.
        chosen: Predictions, each with its number, for messages.
        invalid: List of the predictions that are left out, and the rule whether to raise.
    """
    numbered = [(number, _with_box_of_mask(prediction)) for number, prediction in chosen]
    images = _fix_unannotated_sizes(coco, [prediction for _, prediction in numbered])
    by_id = {image["id"]: image for image in images}
    results = check_results(numbered, by_id, {category["id"] for category in coco["categories"]}, invalid)
    found = _with_mask(results, invalid)
    old, old_boxes = _with_area(_masks(coco["annotations"], by_id))
    new, new_boxes = _with_area(found)
    replaced = _replaced(old, old_boxes, new, new_boxes)
    kept = [annotation["id"] for annotation in old if annotation["id"] not in replaced]
    added = group_by_image(new)
    in_order = [result for image in images for result in added.get(image["id"], [])]
    empty = len(coco["annotations"]) - len(old) + len(found) - len(new)
    return MergedImages(images, kept, in_order, len(replaced), empty)


def annotation_of(number: int, result: Result) -> dict[str, Any]:
    """A result as the annotation of this id."""
    mask = result["segmentation"]
    height, width = mask["size"]
    return {**result, "id": number, "area": rle.area(mask), "iscrowd": 0, "width": width, "height": height}


def _with_box_of_mask(prediction: Any) -> Any:
    """Prediction without its regressed box, so that the box of its mask is taken."""
    return {**prediction, "bbox": None} if prediction.get("segmentation") else prediction


def _with_mask(results: Sequence[Result], invalid: InvalidRecords) -> list[Result]:
    for result in results:
        if "segmentation" not in result:
            invalid.add(f"{detection_label(result)} has no mask")
    return [result for result in results if "segmentation" in result]


def _fix_unannotated_sizes(coco: Coco, predictions: Iterable[Mapping[str, Any]]) -> list[Image]:
    """Image records; without annotations, width and height are swapped where all predictions have them that way."""
    annotated = {annotation["image_id"] for annotation in coco["annotations"]}
    valid = [p for p in predictions if result_error(p) is None and p["image_id"] not in annotated]
    sizes = {image_id: set(map(mask_size, found)) for image_id, found in group_by_image(valid).items()}
    return [
        {**image, "height": image["width"], "width": image["height"]}
        if sizes.get(image["id"]) == {(image["width"], image["height"])}
        else image
        for image in coco["images"]
    ]


def _masks(annotations: Iterable[Mapping[str, Any]], images: Mapping[int, Image]) -> list[dict[str, Any]]:
    """Id, image id and mask of each annotation; that of its box where it has none."""
    masks = []
    for annotation in annotations:
        image = images[annotation["image_id"]]
        x, y, width, height = annotation["bbox"]
        box = [x, y, x + width, y, x + width, y + height, x, y + height]
        mask = rle.to_rle(annotation.get("segmentation") or [box], image["height"], image["width"])
        masks.append({"id": annotation["id"], "image_id": annotation["image_id"], "segmentation": mask})
    return masks


def _with_area(records: Sequence[_Record]) -> tuple[list[_Record], _Boxes]:
    """The records whose masks have area, and the boxes (xyxy) of these."""
    masks = [record["segmentation"] for record in records]
    found = rle.scan([mask["counts"] for mask in masks], rle.sizes_hw(masks))
    kept = np.flatnonzero(found.areas > 0)
    return [records[i] for i in kept.tolist()], found.boxes[kept]


def _replaced(
    old: Sequence[Mapping[str, Any]], old_boxes: _Boxes, new: Sequence[Mapping[str, Any]], new_boxes: _Boxes
) -> set[int]:
    """Ids of the old annotations that a new one of their image overlaps; no mask is decoded whose box meets none."""
    ids: set[int] = set()
    added = _rows_by_image(new)
    for image_id, rows in _rows_by_image(old).items():
        columns = added.get(image_id, [])
        meet = _meet(old_boxes[rows], new_boxes[columns])
        if not meet.any():
            continue
        near = [old[rows[i]] for i in np.flatnonzero(meet.any(axis=1))]
        others = [new[columns[i]] for i in np.flatnonzero(meet.any(axis=0))]
        overlaps = rle.iou([a["segmentation"] for a in near], [r["segmentation"] for r in others]).max(axis=1)
        ids |= {a["id"] for a, overlap in zip(near, overlaps, strict=True) if overlap >= REPLACE_IOU}
    return ids


def _rows_by_image(records: Iterable[Mapping[str, Any]]) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {}
    for row, record in enumerate(records):
        rows.setdefault(record["image_id"], []).append(row)
    return rows


def _meet(boxes: _Boxes, others: _Boxes) -> Bool[np.ndarray, "_ _"]:
    """Which boxes (xyxy) have common pixels."""
    first, second = boxes[:, None], others[None]
    apart = (first[..., :2] >= second[..., 2:]) | (second[..., :2] >= first[..., 2:])
    meet: np.ndarray = np.logical_not(np.any(apart, axis=-1))
    return meet
