"""Annotations of the next self-training round: confident predictions join, and replace what they overlap.

Section 3.4 of the paper. Predictions with a score of at least the threshold (0.7 in the first round, 0.65 in the
second) become annotations; an annotation of the round before stays only if no kept prediction of its image reaches a
mask IoU of 0.5 with it. Deviations from the original's script: predicted annotations have the box and the area of
their mask and their right width and height; predictions of unknown images and masks of another size are errors
instead of being kept or lost in silence; ids of annotations that stay do not change.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from cutler_pl.coco import rle
from cutler_pl.coco.checks import is_mapping, result_fault
from cutler_pl.coco.io import load_coco, load_predictions, read_json
from cutler_pl.coco.records import group_by_image, mask_size
from cutler_pl.coco.rejects import InvalidRecords, OnError
from cutler_pl.coco.schema import RLE, Annotation, Coco, Image, Result
from cutler_pl.errors import AnnotationError
from cutler_pl.runtime.logging import get_logger
from cutler_pl.self_training.select import select

REPLACE_IOU = 0.5
"""Mask IoU with a kept prediction from which on an annotation of the round before is replaced."""

_log = get_logger(__name__)


@dataclass(frozen=True)
class Merge:
    """Annotations of the next round, and how they came about.

    Attributes:
        coco: The annotations.
        added: Number of predictions that became annotations.
        replaced: Number of previous annotations that gave way.
        dropped: One reason for each faulty record left out.
    """

    coco: dict[str, Any]
    added: int
    replaced: int
    dropped: list[str] = field(default_factory=list)


def merge_annotations(
    previous: str | Path | Mapping[str, Any],
    predictions: str | Path | Sequence[Mapping[str, Any]],
    threshold: int | float,
    *,
    on_error: OnError = "raise",
) -> dict[str, Any]:
    """Annotations of the next self-training round, as COCO.

    Args:
        previous: COCO annotations of this round, as path or content. Image records may have width and height
            exchanged: the masks' size rules.
        predictions: COCO results with masks, as path or content.
        threshold: Least score of predictions that are kept.
        on_error: "raise" ends at the first faulty record: an unknown image or category, a mask of another size than
            its image, a record without mask or score. "skip" logs and leaves out such records.

    Returns:
        The previous content with its images' sizes put right. Annotations that stay are the same records in the same
        order, ids included; new ones follow in the order of the images, numbered from the greatest id on.

    Raises:
        DatasetNotFoundError: A file is not there.
        AnnotationError: A file or record is faulty.
        ConfigError: The threshold is not a number.
    """
    return merge(previous, predictions, threshold, on_error=on_error).coco


def merge(
    previous: str | Path | Mapping[str, Any],
    predictions: str | Path | Sequence[Mapping[str, Any]],
    threshold: int | float,
    *,
    on_error: OnError = "raise",
) -> Merge:
    """As `merge_annotations`, with the counts and the list of what was left out."""
    before, before_name = read_json(previous)
    results, where = read_json(predictions)
    if not isinstance(results, Sequence):
        raise AnnotationError(f"{where}: expected a list of detections, found a {type(results).__name__}")
    rejects = InvalidRecords(where, on_error)
    file = load_coco(before, on_error=on_error, keep_empty_boxes=True, where=before_name)
    chosen = [_with_box_of_mask(prediction) for prediction in select(results, threshold, rejects=rejects)]
    coco = cast(Coco, {**file.coco, "images": _images_in_frame(file.coco, chosen)})
    checked = load_predictions(chosen, coco, on_error=on_error, where=f"{where}, from score {threshold:g} on")
    added = group_by_image(_with_mask(checked.results, rejects))
    kept = group_by_image(coco["annotations"])
    as_given = {record["id"]: record for record in reversed(before["annotations"]) if is_mapping(record)}

    gone: set[int] = set()
    for image in coco["images"]:
        gone |= _overlapped(kept.get(image["id"], []), added.get(image["id"], []), image)
    next_id = max((annotation["id"] for annotation in coco["annotations"]), default=0) + 1
    new = [result for image in coco["images"] for result in added.get(image["id"], [])]
    annotations = [as_given[a["id"]] for a in coco["annotations"] if a["id"] not in gone]
    annotations += [_annotation(next_id + offset, result) for offset, result in enumerate(new)]

    rejects.report()
    _log.info(
        "self-training merge at score %g: %d of %d predictions added, %d of %d annotations replaced, %d in all",
        threshold,
        len(new),
        len(results),
        len(gone),
        len(coco["annotations"]),
        len(annotations),
    )
    dropped = [*file.dropped, *rejects.reasons, *checked.dropped]
    return Merge({**coco, "annotations": annotations}, len(new), len(gone), dropped)


def _with_box_of_mask(prediction: Mapping[str, Any]) -> Mapping[str, Any]:
    """Prediction without its regressed box, so that the box of its mask is taken."""
    return {**prediction, "bbox": None} if prediction.get("segmentation") else prediction


def _with_mask(results: Iterable[Result], rejects: InvalidRecords) -> list[Result]:
    masked = []
    for result in results:
        if "segmentation" in result:
            masked.append(result)
        else:
            rejects.add(f"the detection of score {result['score']} (image {result['image_id']}) has no mask")
    return masked


def _images_in_frame(coco: Coco, predictions: Iterable[Mapping[str, Any]]) -> list[Image]:
    """Image records; those without annotations have width and height exchanged where their predictions ask for it."""
    annotated = {annotation["image_id"] for annotation in coco["annotations"]}
    sizes: dict[int, set[tuple[int, int] | None]] = {}
    for prediction in predictions:
        if result_fault(prediction) is None and prediction["image_id"] not in annotated:
            sizes.setdefault(prediction["image_id"], set()).add(mask_size(prediction))
    return [
        {**image, "height": image["width"], "width": image["height"]}
        if sizes.get(image["id"]) == {(image["width"], image["height"])}
        else image
        for image in coco["images"]
    ]


def _overlapped(old: list[Annotation], new: list[Result], image: Image) -> set[int]:
    """Ids of the annotations of an image that give way to its new ones."""
    if not old or not new:
        return set()
    masks = [_mask(annotation, image) for annotation in old]
    others = [result["segmentation"] for result in new]
    overlaps = rle.iou(masks, others).max(axis=1)
    if not all(map(rle.area, others)):  # an empty prediction replaces an empty annotation, as the same mask
        overlaps[np.array([rle.area(mask) == 0 for mask in masks])] = 1.0
    return {annotation["id"] for annotation, overlap in zip(old, overlaps, strict=True) if overlap >= REPLACE_IOU}


def _mask(annotation: Annotation, image: Image) -> RLE:
    """Mask of an annotation; that of its box where it has none."""
    x, y, width, height = annotation["bbox"]
    box = [x, y, x + width, y, x + width, y + height, x, y + height]
    return rle.to_rle(annotation.get("segmentation") or [box], image["height"], image["width"])


def _annotation(number: int, result: Result) -> dict[str, Any]:
    height, width = result["segmentation"]["size"]
    return {
        **result,
        "id": number,
        "area": rle.area(result["segmentation"]),
        "iscrowd": 0,
        "width": width,
        "height": height,
    }
