"""Features of all masks of a COCO file, in parts of some hundred images that are kept when a run is interrupted."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from cutler_pl.coco import rle
from cutler_pl.coco.file_names import NAMES_WAY_OUT, leads_out
from cutler_pl.coco.grouped_file import Group
from cutler_pl.coco.json_text import shown
from cutler_pl.discovery.mask_features import mask_features
from cutler_pl.discovery.objects import grouped_file, is_object
from cutler_pl.discovery.options import DiscoverOptions
from cutler_pl.errors import AnnotationError, ImageReadError, TooManyFailuresError
from cutler_pl.images import read_image
from cutler_pl.maskcut.features import FeatureExtractor
from cutler_pl.ops.resize import resize_to_square
from cutler_pl.runtime.files import atomic_write
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class ObjectFeatures:
    """One vector of length 1 per object, and the reason per image that could not be read."""

    annotation_ids: Int64[np.ndarray, " objects"]
    values: Float32[np.ndarray, "objects dim"]
    failures: dict[str, str]


class _ImageObjects(NamedTuple):
    name: str
    size_hw: tuple[int, int]
    annotations: list[Any]


def read_or_compute(
    annotations: Path,
    images: Path,
    folder: Path,
    *,
    extractor: FeatureExtractor,
    fixed_size: int,
    options: DiscoverOptions,
) -> ObjectFeatures:
    """The features of all objects; those that a part in the folder holds are not computed again.

    Args:
        annotations: COCO file.
        images: Folder of its images.
        folder: Where the parts are; they are of these annotations, images, extractor and size.
        extractor: Computes the patch features.
        fixed_size: Side of the square to which images are resized.
        options: How the run goes.

    Raises:
        AnnotationError: The file is invalid, has no object, or an object has no mask.
        TooManyFailuresError: Too many images cannot be read.
    """
    parts = []
    count = 0
    with (
        grouped_file(annotations, folder, on_error=options.on_error) as file,
        ThreadPoolExecutor(options.threads, thread_name_prefix="decode") as pool,
    ):
        for number, group in enumerate(file.groups()):
            path = folder / f"part-{number:06d}.npz"
            found = _images_of(group, annotations, images)
            count += len(found)
            if not path.is_file():
                _save(path, _compute(found, images, pool, extractor=extractor, side=fixed_size, options=options))
            parts.append(path)
            log.info("features: %d of %d groups of images", number + 1, file.num_groups)
    features = _join(parts)
    _check(features, count, annotations, images, options.max_failure_rate)
    return features


def _images_of(group: Group, annotations: Path, images: Path) -> list[_ImageObjects]:
    """The images that have objects."""
    for image in group.coco["images"]:
        if leads_out(images, image["file_name"]):
            raise AnnotationError(
                f"{annotations}: image {image['id']} has the file_name {shown(image['file_name'])}, which leads out of "
                f"the image folder {images}; {NAMES_WAY_OUT}"
            )
    of_image: dict[int, list[Any]] = {}
    for annotation in group.coco["annotations"]:
        if is_object(annotation, source_name=annotations):
            of_image.setdefault(annotation["image_id"], []).append(annotation)
    return [
        _ImageObjects(image["file_name"], (image["height"], image["width"]), of_image[image["id"]])
        for image in group.coco["images"]
        if image["id"] in of_image
    ]


def _compute(
    found: Sequence[_ImageObjects],
    images: Path,
    pool: ThreadPoolExecutor,
    *,
    extractor: FeatureExtractor,
    side: int,
    options: DiscoverOptions,
) -> ObjectFeatures:
    assert extractor.dim is not None  # `discover` refuses others
    ids: list[int] = []
    values: list[Float32[np.ndarray, "objects dim"]] = [np.zeros((0, extractor.dim), dtype=np.float32)]
    failures: dict[str, str] = {}

    def read(one: _ImageObjects) -> UInt8[Tensor, "3 height width"] | str:
        path = images / one.name
        try:
            return resize_to_square(read_image(path), side)
        except ImageReadError as error:
            return str(error).removeprefix(f"{path}: ")

    for batch, pixels in _ahead(pool, read, found, options.batch_size):
        readable = [(one, value) for one, value in zip(batch, pixels, strict=True) if isinstance(value, Tensor)]
        failures |= {one.name: value for one, value in zip(batch, pixels, strict=True) if isinstance(value, str)}
        if not readable:
            continue
        stacked = torch.stack([value for _, value in readable]).to(_device(extractor))
        for (one, _), features in zip(readable, extractor(stacked.float() / 255), strict=True):
            masks = [rle.to_rle(record["segmentation"], *one.size_hw) for record in one.annotations]
            boxes = np.array([record["bbox"] for record in one.annotations], dtype=np.float64)
            values.append(mask_features(features, masks, boxes))
            ids += [record["id"] for record in one.annotations]
    return ObjectFeatures(np.array(ids, dtype=np.int64), np.concatenate(values), failures)


def _ahead(pool: ThreadPoolExecutor, read: Any, found: Sequence[_ImageObjects], size: int) -> Iterator[tuple[Any, Any]]:
    """Batches with what was read of them; the next one is read meanwhile."""
    before: tuple[Any, Any] | None = None
    for start in range(0, len(found), size):
        batch = found[start : start + size]
        reading = (batch, [pool.submit(read, one) for one in batch])
        if before is not None:
            yield before[0], [future.result() for future in before[1]]
        before = reading
    if before is not None:
        yield before[0], [future.result() for future in before[1]]


def _device(extractor: FeatureExtractor) -> torch.device:
    if not isinstance(extractor, torch.nn.Module):
        return torch.device("cpu")
    first = next(chain(extractor.parameters(), extractor.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def _save(path: Path, part: ObjectFeatures) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        failures = np.frombuffer(json.dumps(part.failures).encode(), dtype=np.uint8)
        np.savez(file, annotation_ids=part.annotation_ids, values=part.values, failures=failures)


def _join(paths: Sequence[Path]) -> ObjectFeatures:
    """All parts in one array, which is allocated once."""
    ids: list[Int64[np.ndarray, " objects"]] = []
    failures: dict[str, str] = {}
    dim = 0
    for path in paths:
        with _open(path) as part:
            ids.append(part["annotation_ids"])
            failures |= json.loads(part["failures"].tobytes())
            dim = part["values"].shape[1]
    values = np.empty((sum(map(len, ids)), dim), dtype=np.float32)
    start = 0
    for path, numbers in zip(paths, ids, strict=True):
        with _open(path) as part:
            values[start : start + len(numbers)] = part["values"]
        start += len(numbers)
    return ObjectFeatures(np.concatenate(ids), values, failures)


def _open(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise AnnotationError(
            f"{path}: damaged features ({error}); remove the file, and they are computed again"
        ) from error


def _check(features: ObjectFeatures, count: int, annotations: Path, images: Path, max_failure_rate: float) -> None:
    for name, reason in features.failures.items():
        log.warning("left out with its objects: %s: %s", name, reason)
    if count and len(features.failures) > max_failure_rate * count:
        name, reason = next(iter(features.failures.items()))
        raise TooManyFailuresError(
            f"{images}: {len(features.failures)} of {count} images cannot be read, more than the accepted share of "
            f"{max_failure_rate:g} (max_failure_rate), for example {name}: {reason}"
        )
    if len(features.annotation_ids) < 2:
        number = len(features.annotation_ids) or "no"
        raise AnnotationError(
            f"{annotations}: {number} object{'' if number == 1 else 's'} with a mask, and clusters need at least 2; "
            "give a file with more objects"
        )
