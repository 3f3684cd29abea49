"""Reading COCO files with every doubt settled, and writing them whole.

What a reader of `CocoFile.coco` may rely on: unique ids, known images and categories, well-formed boxes and masks,
masks of their image's size, `iscrowd`, `area` and `file_name` present. MaskCut's original files hold width and
height of images exchanged; the size of the masks tells, and they are put right here. Everything else that is wrong
ends in one sentence, or with `on_error="skip"` in a list.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson

from cutler_pl.coco import checks, records
from cutler_pl.coco.rejects import InvalidRecords, OnError
from cutler_pl.coco.schema import Coco, Image, Result
from cutler_pl.errors import AnnotationError, DatasetNotFoundError
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.logging import get_logger

Source = str | Path | Mapping[str, Any]

_log = get_logger(__name__)


@dataclass(frozen=True)
class CocoFile:
    """A checked annotation file.

    Attributes:
        coco: The file's content, put right.
        swapped: Number of image records whose width and height were exchanged.
        dropped: One reason for each record left out.
        where: Name of the source, for messages.
    """

    coco: Coco
    swapped: int = 0
    dropped: list[str] = field(default_factory=list)
    where: str = ""


@dataclass(frozen=True)
class PredictionFile:
    """Checked detections, and one reason for each that was left out."""

    results: list[Result]
    dropped: list[str] = field(default_factory=list)


def load_coco(
    source: Source, *, on_error: OnError = "raise", keep_empty_boxes: bool = False, where: str | None = None
) -> CocoFile:
    """Read and check a COCO annotation file.

    Args:
        source: Path of a JSON file, or its content. The content is never changed; records are copied where needed.
        on_error: "raise" ends at the first faulty record, "skip" lists and leaves out faulty records.
        keep_empty_boxes: Keep boxes without area inside their image, which are dropped and listed otherwise.
        where: Name of content that is given itself, for messages.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is not JSON, not COCO, or a record is faulty and `on_error` is "raise".
    """
    raw, where = read_json(source, where)
    if not isinstance(raw, Mapping):
        raise AnnotationError(f"{where}: expected a COCO object with images and annotations, found {_kind_of(raw)}")
    for key in ("images", "annotations", "categories"):
        if not isinstance(raw.get(key), list):
            raise AnnotationError(f'{where}: the list "{key}" of a COCO annotation file is missing')
    rejects = InvalidRecords(where, on_error)

    images: dict[int, Image] = {}
    for record in raw["images"]:
        if fault := checks.image_fault(record):
            rejects.add(fault)
        elif record["id"] in images:
            rejects.add(f"image id {record['id']} occurs more than once")
        else:
            images[record["id"]] = records.with_file_name(record)
    categories = {}
    for record in raw["categories"]:
        if (fault := checks.category_fault(record)) or record["id"] in categories:
            rejects.add(fault or f"category id {record['id']} occurs more than once")
        else:
            categories[record["id"]] = record

    annotations = _well_formed(raw["annotations"], images, categories, rejects)
    swapped = records.fix_swapped_sizes(images, annotations)
    if swapped:
        _log.info("%s: width and height put right for %d of %d images", where, swapped, len(images))
    kept = []
    for annotation in annotations:
        image = images[annotation["image_id"]]
        if fault := records.mask_size_mismatch(annotation, image):
            rejects.add(f"{_label(annotation)} {fault}")
        elif not keep_empty_boxes and records.is_empty(annotation, image):
            rejects.note(f"{_label(annotation)} has no area inside its image: {annotation['bbox']!r}")
        else:
            kept.append(records.complete(annotation, image))
    rejects.report()
    coco = {**raw, "images": list(images.values()), "annotations": kept, "categories": [*categories.values()]}
    return CocoFile(cast(Coco, coco), swapped, rejects.reasons, where)


def load_predictions(
    source: Source | Sequence[Mapping[str, Any]],
    ground_truth: Coco,
    *,
    on_error: OnError = "raise",
    any_category: bool = False,
    where: str | None = None,
) -> PredictionFile:
    """Read and check detections against the images and categories they are for.

    Args:
        source: A COCO results list, or a COCO annotation file (raw pseudo-masks; the score is 1 where there is
            none), as path or content. The content is never changed.
        ground_truth: Checked annotations, as of `load_coco`.
        on_error: "raise" ends at the first faulty detection, "skip" lists and leaves out faulty ones.
        any_category: Accept categories that the ground truth does not have (class-agnostic use).
        where: Name of content that is given itself, for messages.

    Returns:
        Results with a box, and with a compressed RLE of the image's size where there was a segmentation.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is not JSON, holds no detections, or one is faulty and `on_error` is "raise".
    """
    raw, where = read_json(source, where)
    if isinstance(raw, Mapping):
        raw = raw.get("annotations")
        raw = raw and [{"score": 1.0, **record} if isinstance(record, Mapping) else record for record in raw]
    if not isinstance(raw, list | tuple):
        raise AnnotationError(f"{where}: expected a list of detections or a COCO file, found {_kind_of(raw)}")
    rejects = InvalidRecords(where, on_error)
    images = {image["id"]: image for image in ground_truth["images"]}
    categories = {category["id"] for category in ground_truth["categories"]}

    formed = []
    for number, record in enumerate(raw):
        if fault := checks.result_fault(record):
            rejects.add(f"detection {number} {fault}")
        elif record["image_id"] not in images:
            rejects.add(f"detection {number} is for the unknown image {record['image_id']}")
        elif not any_category and record["category_id"] not in categories:
            rejects.add(f"detection {number} has the unknown category {record['category_id']}")
        else:
            image = images[record["image_id"]]
            if fault := records.mask_size_mismatch(record, image) or records.outside(record, image):
                rejects.add(f"detection {number} (image {image['id']}) {fault}")
            else:
                formed.append(record)
    formed = _with_sound_counts(
        formed, rejects, lambda r: f"the detection of score {r['score']} (image {r['image_id']})"
    )
    results = [records.to_result(record, images[record["image_id"]]) for record in formed]
    rejects.report()
    return PredictionFile(results, rejects.reasons)


def save_coco(path: str | Path, coco: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Write annotations or results as JSON, atomically; equal content gives equal bytes.

    Raises:
        AnnotationError: A number is NaN or infinite.
    """
    try:
        write_json(path, coco)
    except ValueError as error:
        raise AnnotationError(f"{path}: not written, because JSON has no NaN or infinity ({error})") from error


def read_json(source: Any, where: str | None = None) -> tuple[Any, str]:
    """Content of a JSON file, or the content given itself, and its name for messages."""
    if not isinstance(source, str | Path):
        return source, where or "the COCO data given"
    path = Path(source)
    if not path.is_file():
        raise DatasetNotFoundError(f"no such annotation file: {source}")
    content = path.read_bytes()
    try:
        return orjson.loads(content), str(source)
    except orjson.JSONDecodeError:
        pass  # perhaps only stricter than Python, whose NaN and long integers other programs do write
    try:
        return json.loads(content), str(source)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AnnotationError(f"{source}: not a JSON file ({error}); download or write it again") from error


def _kind_of(raw: Any) -> str:
    return "none" if raw is None else f"a {type(raw).__name__}"


def _well_formed(
    given: list[Any], images: Mapping[int, Image], categories: Mapping[int, Any], rejects: InvalidRecords
) -> list[dict[str, Any]]:
    seen: set[int] = set()
    formed = []
    for record in given:
        if fault := checks.annotation_fault(record):
            rejects.add(fault)
        elif record["id"] in seen:
            rejects.add(f"annotation id {record['id']} occurs more than once")
        elif record["image_id"] not in images:
            rejects.add(f"annotation {record['id']} is for the unknown image {record['image_id']}")
        elif record["category_id"] not in categories:
            rejects.add(f"annotation {record['id']} has the unknown category {record['category_id']}")
        else:
            seen.add(record["id"])
            formed.append(record)
    return _with_sound_counts(formed, rejects, _label)


def _with_sound_counts(
    formed: list[dict[str, Any]], rejects: InvalidRecords, label: Callable[[Mapping[str, Any]], str]
) -> list[dict[str, Any]]:
    """Leave out records with broken run lengths; all are checked at once, which is what is fast."""
    broken = records.invalid_rles(formed)
    for i in broken:
        height, width = formed[i]["segmentation"]["size"]
        rejects.add(f"{label(formed[i])} has run lengths that do not add up to its size {height}×{width}")
    without = set(broken)
    return [record for i, record in enumerate(formed) if i not in without] if broken else formed


def _label(annotation: Mapping[str, Any]) -> str:
    return f"annotation {annotation['id']} (image {annotation['image_id']})"
