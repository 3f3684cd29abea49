"""Read COCO files with every record checked, and write them whole.

`CocoFile.coco` has unique ids, known images and categories, well-formed boxes and masks of their image's size,
`iscrowd`, `area` and `file_name`. MaskCut's original files have width and height of images swapped, which the size of
the masks tells: they are corrected. Everything else that is wrong is an error, or listed by `on_error="skip"`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cutler_pl.coco import records, validation
from cutler_pl.coco.bounds import Bounds
from cutler_pl.coco.json_text import read_json_file
from cutler_pl.coco.matching import to_results
from cutler_pl.coco.schema import Coco, Image, Result
from cutler_pl.coco.validation import SKIP, InvalidRecords, OnError, annotation_label, detection_label, result_label
from cutler_pl.errors import AnnotationError
from cutler_pl.runtime.files import write_json
from cutler_pl.runtime.logging import get_logger

Source = str | Path | Mapping[str, Any]

_log = get_logger(__name__)


@dataclass(frozen=True)
class CocoFile:
    """The corrected content of an annotation file, with one reason for each record left out.

    `swapped` counts image records whose width and height were swapped; `source_name` is for messages.
    """

    coco: Coco
    swapped: int = 0
    dropped: list[str] = field(default_factory=list)
    source_name: str = ""


@dataclass(frozen=True)
class PredictionFile:
    """Checked detections, and one reason for each that was left out."""

    results: list[Result]
    dropped: list[str] = field(default_factory=list)


def load_coco(
    source: Source,
    *,
    on_error: OnError = "raise",
    keep_empty_boxes: bool = False,
    source_name: str | None = None,
    way_out: str = SKIP,
) -> CocoFile:
    """Read and check a COCO annotation file.

    Args:
        source: Path of a JSON file, or its content, which is never changed.
        on_error: "raise" ends at the first invalid record, "skip" lists and leaves out invalid records.
        keep_empty_boxes: Keep boxes without area inside their image, which are dropped and listed otherwise.
        source_name: Name of content that is given itself, for messages.
        way_out: What to do about an invalid record.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is not JSON, not COCO, or a record is invalid and `on_error` is "raise".
    """
    raw, source_name = read_json(source, source_name)
    if not isinstance(raw, Mapping):
        expected = "a COCO object with images and annotations"
        raise AnnotationError(f"{source_name}: expected {expected}, found {_kind_of(raw)}; give another file")
    for key in ("images", "annotations", "categories"):
        if not isinstance(raw.get(key), list):
            raise AnnotationError(
                f'{source_name}: the list "{key}" of a COCO annotation file is missing; give another file'
            )
    invalid = InvalidRecords(source_name, on_error, way_out)

    images = records.check_images(raw["images"], invalid)
    categories = {}
    for record in raw["categories"]:
        if (error := validation.category_error(record)) or record["id"] in categories:
            invalid.add(error or f"category id {record['id']} occurs more than once")
        else:
            categories[record["id"]] = record

    annotations = check_annotations(raw["annotations"], images, categories, invalid)
    swapped = records.fix_swapped_sizes(images, annotations)
    if swapped:
        _log.info("%s: swapped width and height of %d of %d images", source_name, swapped, len(images))
    kept = fit_annotations(annotations, images, invalid, keep_empty_boxes=keep_empty_boxes)
    invalid.report()
    coco = {**raw, "images": list(images.values()), "annotations": kept, "categories": [*categories.values()]}
    return CocoFile(cast(Coco, coco), swapped, invalid.reasons, source_name)


def load_predictions(
    source: Source | Sequence[Mapping[str, Any]],
    ground_truth: Coco,
    *,
    on_error: OnError = "raise",
    any_category: bool = False,
    source_name: str | None = None,
) -> PredictionFile:
    """Read and check detections against the images and categories they are for.

    Args:
        source: A COCO results list, or a COCO annotation file (its images are matched by file name; the score is 1
            where there is none), as path or content, which is never changed.
        ground_truth: Checked annotations, as of `load_coco`.
        on_error: "raise" ends at the first invalid detection, "skip" lists and leaves out invalid ones.
        any_category: Accept categories that the ground truth does not have (class-agnostic use).
        source_name: Name of content that is given itself, for messages.

    Returns:
        Results with a box, and with a compressed RLE of the image's size where there was a segmentation.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is not JSON, holds no detections, or one is invalid and `on_error` is "raise".
    """
    raw, invalid = read_results(source, ground_truth["images"], on_error=on_error, source_name=source_name)
    images = {image["id"]: image for image in ground_truth["images"]}
    categories = None if any_category else {category["id"] for category in ground_truth["categories"]}
    results = check_results(enumerate(raw), images, categories, invalid)
    invalid.report()
    return PredictionFile(results, invalid.reasons)


def check_results(
    numbered: Iterable[tuple[int, Any]],
    images: Mapping[int, Image],
    categories: Collection[int] | None,
    invalid: InvalidRecords,
) -> list[Result]:
    """The valid ones of detections of these images, as results, where `load_predictions` reads a whole file.

    Args:
        numbered: Each with its number in the file, for messages.
        images: Checked records by id.
        categories: Known ids; None for any.
    """
    formed, bounds = [], Bounds.current()
    for number, record in numbered:
        label = result_label(number, record)
        if error := validation.result_error(record):
            invalid.add(f"{label} {error}")
        elif record["image_id"] not in images:
            invalid.add(f"{label} is for the unknown image {record['image_id']}")
        elif categories is not None and record["category_id"] not in categories:
            invalid.add(f"{label} has the unknown category {record['category_id']}")
        else:
            image = images[record["image_id"]]
            error = validation.mask_size_mismatch(record, image) or validation.box_outside_image(record, image)
            if error := error or validation.far_from_image(record, image, bounds):
                invalid.add(f"{label} (image {image['id']}) {error}")
            else:
                formed.append(record)
    formed = validation.with_valid_rles(formed, invalid, detection_label)
    return [records.to_result(record, images[record["image_id"]]) for record in formed]


def read_results(
    source: Any, images: Sequence[Image], *, on_error: OnError, source_name: str | None = None
) -> tuple[Sequence[Any], InvalidRecords]:
    """Unchecked results of a results list or an annotation file, for these images; raises as `load_predictions`."""
    raw, source_name = read_json(source, source_name)
    invalid = InvalidRecords(source_name, on_error)
    found = raw.get("annotations") if isinstance(raw, Mapping) else raw
    if not isinstance(found, list | tuple):
        expected = "a list of detections or a COCO file"
        raise AnnotationError(f"{source_name}: expected {expected}, found {_kind_of(found)}; give another file")
    return to_results(raw, images, invalid) if isinstance(raw, Mapping) else found, invalid


def save_coco(path: str | Path, coco: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Write annotations or results as JSON, atomically; equal content gives equal bytes.

    Raises:
        AnnotationError: A number is NaN or infinite, or a record is nested too deeply.
    """
    try:
        write_json(path, coco)
    except RecursionError as error:
        raise AnnotationError(
            f"{path}: not written, because a record is nested too deeply; repair the input"
        ) from error
    except ValueError as error:
        raise AnnotationError(f"{path}: not written, because JSON has no NaN or infinity ({error})") from error


def read_json(source: Any, source_name: str | None = None) -> tuple[Any, str]:
    """Content of a JSON file, or the content given itself, and its name for messages."""
    if not isinstance(source, str | Path):
        return source, source_name or "the COCO data given"
    content = read_json_file(source, way_out="download or write it again")
    if not isinstance(content, dict | list):  # a string would be taken for a path
        raise AnnotationError(
            f"{source}: expected a COCO object or a list of results, found {_kind_of(content)}; give another file"
        )
    return content, str(source)


def _kind_of(raw: Any) -> str:
    return "none" if raw is None else f"a {type(raw).__name__}"


def check_annotations(
    given: Iterable[Any],
    images: Mapping[int, Image],
    categories: Mapping[int, Any],
    invalid: InvalidRecords,
    *,
    seen: set[int] | None = None,
) -> list[dict[str, Any]]:
    """The well-formed annotations of known images and categories, each id once.

    Args:
        seen: Ids of those before; gets the ids of these.
    """
    seen = set() if seen is None else seen
    formed = []
    for record in given:
        if error := validation.annotation_error(record):
            invalid.add(error)
        elif record["id"] in seen:
            invalid.add(f"annotation id {record['id']} occurs more than once")
        elif record["image_id"] not in images:
            invalid.add(f"annotation {record['id']} is for the unknown image {record['image_id']}")
        elif record["category_id"] not in categories:
            invalid.add(f"annotation {record['id']} has the unknown category {record['category_id']}")
        else:
            seen.add(record["id"])
            formed.append(record)
    return validation.with_valid_rles(formed, invalid, annotation_label)


def fit_annotations(
    annotations: Iterable[dict[str, Any]],
    images: Mapping[int, Image],
    invalid: InvalidRecords,
    *,
    keep_empty_boxes: bool = False,
) -> list[dict[str, Any]]:
    """Those of the well-formed annotations that fit their images, of correct sizes; with missing fields filled in."""
    kept, bounds = [], Bounds.current()
    for annotation in annotations:
        image = images[annotation["image_id"]]
        if error := validation.mask_size_mismatch(annotation, image):
            invalid.add(f"{annotation_label(annotation)} {error}")
        elif not keep_empty_boxes and validation.is_empty(annotation, image):
            invalid.note(f"{annotation_label(annotation)} has no area inside its image: {annotation['bbox']!r}")
        elif error := validation.far_from_image(annotation, image, bounds):
            invalid.add(f"{annotation_label(annotation)} {error}")
        else:
            kept.append(records.fill_defaults(annotation, image))
    return kept
