"""Ground truth for an evaluation: a file is read in batches, and only what is compared stays, with compressed masks.

A file with invalid records is read again by `coco.io.load_coco`, which names them, or leaves them out and lists them.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np

from cutler_pl.coco import rle, validation
from cutler_pl.coco.io import CocoFile, Source, check_annotations, fit_annotations, load_coco
from cutler_pl.coco.records import SizeEvidence, check_images
from cutler_pl.coco.schema import Coco, Image
from cutler_pl.coco.stream import Batch, images_first, read_batches
from cutler_pl.coco.validation import InvalidRecords, OnError
from cutler_pl.errors import AnnotationError
from cutler_pl.runtime.logging import get_logger

_KEPT = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
_log = get_logger(__name__)


def load_ground_truth(source: Source, *, on_error: OnError) -> CocoFile:
    """Read and check annotations as `load_coco` does, boxes without area included.

    Of the annotations of a file, other fields than those of COCO's evaluation are left out.
    """
    if isinstance(source, str | Path):
        with suppress(AnnotationError):
            return _read(Path(source), InvalidRecords(str(source), "raise"))
    return load_coco(source, on_error=on_error, keep_empty_boxes=True)


def _read(path: Path, invalid: InvalidRecords) -> CocoFile:
    """Read a file twice: masks tell whether sizes of images are swapped, and polygons need the sizes.

    Raises:
        AnnotationError: A record is invalid.
    """
    header: dict[str, Any] = {}
    images: dict[int, Image] = {}
    categories: dict[int, Any] = {}
    evidence: SizeEvidence | None = None
    position: dict[int, int] = {}
    for key, batch in images_first(path):
        if not isinstance(batch, Batch):
            header[key] = batch
        elif key == "images":
            _extend(images, check_images(batch, invalid), of=len(batch))
        elif key == "categories":
            _extend(categories, {record["id"]: record for record in batch if _is_category(record)}, of=len(batch))
        elif key == "annotations":
            if evidence is None:
                sizes_hw = [(image["height"], image["width"]) for image in images.values()]
                evidence = SizeEvidence(np.array(sizes_hw, dtype=np.int64).reshape(-1, 2))
                position = {image_id: place for place, image_id in enumerate(images)}
            _add_evidence(evidence, batch, position)
        else:
            header.setdefault(key, []).extend(batch)
    swapped = [] if evidence is None else np.flatnonzero(evidence.swapped()).tolist()
    for image_id in [list(images)[place] for place in swapped]:
        image = images[image_id]
        images[image_id] = cast(Image, {**image, "height": image["width"], "width": image["height"]})
    if swapped:
        _log.info("%s: swapped width and height of %d of %d images", path, len(swapped), len(images))

    seen: set[int] = set()
    sizes: dict[tuple[int, int], list[int]] = {}
    kept: list[dict[str, Any]] = []
    for key, batch in read_batches(path):
        if key == "annotations":
            formed = check_annotations(batch, images, categories, invalid, seen=seen)
            fitting = fit_annotations(formed, images, invalid, keep_empty_boxes=True)
            kept += [_compressed(annotation, images[annotation["image_id"]], sizes) for annotation in fitting]
    content = {**header, "images": list(images.values()), "annotations": kept, "categories": [*categories.values()]}
    return CocoFile(cast(Coco, content), len(swapped), [], str(path))


def _extend(records: dict[int, Any], more: Mapping[int, Any], *, of: int) -> None:
    if len(more) < of or records.keys() & more.keys():
        raise AnnotationError("an id occurs more than once, or a record is invalid")
    records.update(more)


def _is_category(record: Any) -> bool:
    return not validation.category_error(record)


def _add_evidence(evidence: SizeEvidence, batch: Sequence[Any], position: Mapping[int, int]) -> None:
    if any(validation.annotation_error(record) or record["image_id"] not in position for record in batch):
        raise AnnotationError("an annotation is invalid, or for an unknown image")
    owners = np.array([position[record["image_id"]] for record in batch], dtype=np.int64)
    masks = [validation.mask_size(record) or (0, 0) for record in batch]
    evidence.add(owners, np.array(masks, dtype=np.int64).reshape(-1, 2))


def _compressed(annotation: Mapping[str, Any], image: Image, sizes: dict[tuple[int, int], list[int]]) -> dict[str, Any]:
    """The fields that count; equal sizes of masks are one object."""
    found = {name: annotation[name] for name in _KEPT}
    if segmentation := annotation.get("segmentation"):
        size = image["height"], image["width"]
        counts = rle.to_rle(segmentation, *size)["counts"]
        found["segmentation"] = {"size": sizes.setdefault(size, list(size)), "counts": counts}
    return found
