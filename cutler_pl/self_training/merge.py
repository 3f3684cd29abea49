"""Annotations of the next self-training round: confident predictions join, and replace what they overlap.

Section 3.4 of the paper. Predictions with a score of at least the threshold (0.7 in the first round, 0.65 in the
second) become annotations; an annotation of the round before stays only if no kept prediction of its image reaches a
mask IoU of 0.5 with it. Deviations from the original's script: boxes and areas of predictions are those of their masks,
width and height are correct; unknown images and masks of another size are errors, where the original keeps or loses
them silently; empty masks are left out; ids of annotations that stay do not change.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from cutler_pl.coco import rle
from cutler_pl.coco.bounds import MAX_ID
from cutler_pl.coco.io import Source, load_coco, load_predictions, read_json, read_results
from cutler_pl.coco.records import group_by_image
from cutler_pl.coco.schema import Coco, Image, Result
from cutler_pl.coco.validation import (
    InvalidRecords,
    OnError,
    detection_label,
    is_id,
    is_mapping,
    mask_size,
    result_error,
)
from cutler_pl.errors import AnnotationError
from cutler_pl.runtime.logging import get_logger
from cutler_pl.self_training.select import select

REPLACE_IOU = 0.5
"""Mask IoU with a kept prediction from which on an annotation of the round before is replaced."""

Predictions = Source | Sequence[Mapping[str, Any]]

_Record = TypeVar("_Record", bound=Mapping[str, Any])

_log = get_logger(__name__)


@dataclass(frozen=True)
class Merge:
    """Annotations of the next round, counts, and one reason for each invalid record left out.

    `added` predictions became annotations and `replaced` previous ones; `empty` records have a mask without area.
    """

    coco: dict[str, Any]
    added: int
    replaced: int
    empty: int
    dropped: list[str] = field(default_factory=list)


def merge_annotations(
    previous: Source, predictions: Predictions, threshold: float, *, on_error: OnError = "raise"
) -> dict[str, Any]:
    """Annotations of the next self-training round, as COCO.

    Args:
        previous: COCO annotations of this round, as path or content; swapped width and height are corrected.
        predictions: COCO results with masks, or COCO annotations matched by file name, as path or content.
        threshold: Least score of predictions that are kept.
        on_error: "raise" ends at the first invalid record: an unknown image or category, a mask of another size than
            its image, a record without mask or score. "skip" logs and leaves out such records.

    Returns:
        The previous content. Annotations that stay are the same records in the same order, ids included; new ones
        follow in the order of the images, numbered from the greatest id on. Masks without area are left out.

    Raises:
        DatasetNotFoundError: A file is not there.
        AnnotationError: A file or record is invalid.
        ConfigError: The threshold is not a number.
    """
    return merge(previous, predictions, threshold, on_error=on_error).coco


def merge(previous: Source, predictions: Predictions, threshold: float, *, on_error: OnError = "raise") -> Merge:
    """As `merge_annotations`, with the counts and the list of what was left out."""
    before, before_name = read_json(previous)
    file = load_coco(before, on_error=on_error, keep_empty_boxes=True, source_name=before_name)
    results, invalid = read_results(predictions, file.coco["images"], on_error=on_error)
    chosen = [_with_box_of_mask(prediction) for prediction in select(results, threshold, invalid=invalid)]
    coco = cast(Coco, {**file.coco, "images": _fix_unannotated_sizes(file.coco, chosen)})
    source_name = f"{invalid.source_name}, from score {threshold:g} on"
    checked = load_predictions(chosen, coco, on_error=on_error, source_name=source_name)
    found = _with_mask(checked.results, invalid)
    old, new = _with_area(_masks(coco)), _with_area(found)
    replaced = _replaced(old, new)
    original = _as_given(before["annotations"], coco)
    annotations = [original[annotation["id"]] for annotation in old if annotation["id"] not in replaced]
    first_id = max((annotation["id"] for annotation in coco["annotations"]), default=0) + 1
    if first_id + len(new) > MAX_ID:
        raise AnnotationError(f"{before_name}: no number is left above annotation id {first_id - 1}; number them anew")
    added = group_by_image(new)
    in_order = [result for image in coco["images"] for result in added.get(image["id"], [])]
    annotations += [_annotation(number, result) for number, result in enumerate(in_order, first_id)]

    invalid.report()
    empty = len(coco["annotations"]) - len(old) + len(found) - len(new)
    counts = len(new), len(results), len(replaced), len(coco["annotations"]), empty, len(annotations)
    _log.info(
        "self-training merge at score %g: %d of %d predictions added, %d of %d annotations replaced, %d without area "
        "left out, %d in all", threshold, *counts,
    )  # fmt: skip
    dropped = [*file.dropped, *invalid.reasons, *checked.dropped]
    return Merge({**coco, "annotations": annotations}, len(new), len(replaced), empty, dropped)


def _with_box_of_mask(prediction: Mapping[str, Any]) -> Mapping[str, Any]:
    """Prediction without its regressed box, so that the box of its mask is taken."""
    return {**prediction, "bbox": None} if prediction.get("segmentation") else prediction


def _as_given(records: Sequence[Any], coco: Coco) -> dict[int, dict[str, Any]]:
    """The records as given, without the fields filled in, that checked annotations were made from, by id."""
    checked: dict[int, dict[str, Any]] = {annotation["id"]: {**annotation} for annotation in coco["annotations"]}
    given = (record for record in records if is_mapping(record) and is_id(record.get("id")))
    return {
        record["id"]: record
        for record in given
        if record["id"] in checked and {**checked[record["id"]], **record} == checked[record["id"]]
    }


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


def _masks(coco: Coco) -> list[dict[str, Any]]:
    """Id, image id and mask of each annotation; that of its box where it has none."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in coco["images"]}
    masks = []
    for annotation in coco["annotations"]:
        x, y, width, height = annotation["bbox"]
        box = [x, y, x + width, y, x + width, y + height, x, y + height]
        mask = rle.to_rle(annotation.get("segmentation") or [box], *sizes[annotation["image_id"]])
        masks.append({"id": annotation["id"], "image_id": annotation["image_id"], "segmentation": mask})
    return masks


def _with_area(records: Sequence[_Record]) -> list[_Record]:
    areas = rle.areas([record["segmentation"] for record in records]).tolist()
    return [record for record, area in zip(records, areas, strict=True) if area > 0]


def _replaced(old: Sequence[Mapping[str, Any]], new: Sequence[Result]) -> set[int]:
    """Ids of the old annotations that a new one of their image overlaps."""
    ids: set[int] = set()
    added = group_by_image(new)
    for image_id, annotations in group_by_image(old).items():
        if image_id in added:
            masks, others = ([r["segmentation"] for r in records] for records in (annotations, added[image_id]))
            overlaps = rle.iou(masks, others).max(axis=1)
            ids |= {a["id"] for a, overlap in zip(annotations, overlaps, strict=True) if overlap >= REPLACE_IOU}
    return ids


def _annotation(number: int, result: Result) -> dict[str, Any]:
    mask = result["segmentation"]
    height, width = mask["size"]
    return {**result, "id": number, "area": rle.area(mask), "iscrowd": 0, "width": width, "height": height}
