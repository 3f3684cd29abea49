"""Annotations of the next self-training round: confident predictions join, and replace what they overlap.

Section 3.4 of the paper. Predictions with a score of at least the threshold (0.7 in the first round, 0.65 in the
second) become annotations; an annotation of the round before stays only if no kept prediction of its image reaches a
mask IoU of 0.5 with it. Deviations from the original's script: boxes and areas of predictions are those of their masks,
width and height are correct; unknown images and masks of another size are errors, where the original keeps or loses
them silently; empty masks are left out; ids of annotations that stay do not change. `merge_files` does the same with
files of any size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cutler_pl.coco.bounds import MAX_ID
from cutler_pl.coco.io import Source, load_coco, read_json, read_results
from cutler_pl.coco.schema import Coco
from cutler_pl.coco.validation import InvalidRecords, OnError, is_id, is_mapping
from cutler_pl.errors import AnnotationError
from cutler_pl.runtime.logging import get_logger
from cutler_pl.self_training.overlap import annotation_of, merge_images
from cutler_pl.self_training.select import select

Predictions = Source | Sequence[Mapping[str, Any]]

_log = get_logger(__name__)


@dataclass(frozen=True)
class Counts:
    """What a merge did, and one reason for each invalid record left out.

    `added` of `predictions` became annotations, and `replaced` of `annotations` previous ones; `empty` records have a
    mask without area; `total` annotations are in the result.
    """

    added: int
    predictions: int
    replaced: int
    annotations: int
    empty: int
    total: int
    dropped: list[str] = field(default_factory=list)

    def report(self, threshold: float) -> None:
        """Log the counts."""
        _log.info(
            "self-training merge at score %g: %d of %d predictions added, %d of %d annotations replaced, %d without "
            "area left out, %d in all",
            threshold, self.added, self.predictions, self.replaced, self.annotations, self.empty, self.total,
        )  # fmt: skip


@dataclass(frozen=True)
class Merge(Counts):
    """Annotations of the next round, and the counts."""

    coco: dict[str, Any] = field(default_factory=dict)


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
    chosen = select(results, threshold, invalid=invalid)
    unfit = InvalidRecords(chosen_name(invalid.source_name, threshold), on_error)
    merged = merge_images(file.coco, enumerate(chosen), unfit)
    before_count = len(file.coco["annotations"])
    first_id = first_free_id(
        max((a["id"] for a in file.coco["annotations"]), default=0), len(merged.added), before_name
    )
    original = _as_given(before["annotations"], file.coco)
    annotations = [original[number] for number in merged.kept_ids]
    annotations += [annotation_of(number, result) for number, result in enumerate(merged.added, first_id)]

    for source in (invalid, unfit):
        source.report()
    done = Merge(
        added=len(merged.added),
        predictions=len(results),
        replaced=merged.replaced,
        annotations=before_count,
        empty=merged.empty,
        total=len(annotations),
        dropped=[*file.dropped, *invalid.reasons, *unfit.reasons],
        coco={**file.coco, "images": merged.images, "annotations": annotations},
    )
    done.report(threshold)
    return done


def chosen_name(source_name: str, threshold: float) -> str:
    """Name of the chosen predictions, in messages."""
    return f"{source_name}, from score {threshold:g} on"


def first_free_id(greatest: int, added: int, source_name: str) -> int:
    """Id of the first of the added annotations.

    Raises:
        AnnotationError: There are not as many numbers.
    """
    if greatest + 1 + added > MAX_ID:
        raise AnnotationError(f"{source_name}: no number is left above annotation id {greatest}; number them anew")
    return greatest + 1


def _as_given(records: Sequence[Any], coco: Coco) -> dict[int, dict[str, Any]]:
    """The records as given, without the fields filled in, that checked annotations were made from, by id."""
    checked: dict[int, dict[str, Any]] = {annotation["id"]: {**annotation} for annotation in coco["annotations"]}
    given = (record for record in records if is_mapping(record) and is_id(record.get("id")))
    return {
        record["id"]: record
        for record in given
        if record["id"] in checked and {**checked[record["id"]], **record} == checked[record["id"]]
    }
