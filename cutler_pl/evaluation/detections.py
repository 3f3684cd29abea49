"""Detections as columns: read and checked all at once, without one Python object per detection.

Invalid input is read again by `coco.io.load_predictions`, which checks record by record and names the error.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from mmap import ACCESS_READ, mmap
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from jaxtyping import Float64, Int64

from cutler_pl.coco import rle
from cutler_pl.coco.bounds import Bounds
from cutler_pl.coco.io import Source, load_predictions
from cutler_pl.coco.schema import RLE, Coco, Image, Result
from cutler_pl.coco.validation import OnError

_CHUNK_BYTES = 2**18  # the records of larger chunks do not fit the processor's cache
_CUT = re.compile(rb"\}\s*,\s*(?=\{)")
_FIELDS = itemgetter("image_id", "category_id", "score", "bbox")
_SIZE, _COUNTS = itemgetter("size"), itemgetter("counts")
_NO_MASK: RLE = {"size": [0, 0], "counts": ""}


@dataclass(frozen=True, eq=False)
class Detections:
    """COCO results by column.

    Attributes:
        image_ids: COCO ids.
        category_ids: COCO ids.
        scores: Confidence.
        boxes: `[x, y, width, height]` in pixels.
        masks: Counts of the compressed RLE; empty where there is no mask.
        mask_sizes: `[height, width]` of the masks; zero where there is no mask.
        mask_areas: Number of pixels of the masks.
        mask_boxes: Tight boxes of the masks, xyxy in pixels.
    """

    image_ids: Int64[np.ndarray, " detections"]
    category_ids: Int64[np.ndarray, " detections"]
    scores: Float64[np.ndarray, " detections"]
    boxes: Float64[np.ndarray, "detections 4"]
    masks: list[str]
    mask_sizes: Int64[np.ndarray, "detections 2"]
    mask_areas: Int64[np.ndarray, " detections"]
    mask_boxes: Int64[np.ndarray, "detections 4"]

    def __len__(self) -> int:
        return len(self.masks)

    @classmethod
    def from_results(cls, results: Sequence[Mapping[str, Any]], *, strict: bool = False) -> "Detections":
        """Columns of results with compressed masks.

        Args:
            results: Records.
            strict: Check what `load_predictions` would check in each record by itself.

        Raises:
            LookupError: A key is missing.
            TypeError: A value has another type than JSON gives it.
            ValueError: A box has not four sides, or counts do not add up.
            OverflowError: A number is out of range.
        """
        image_ids, category_ids, scores, boxes = zip(*map(_FIELDS, results), strict=True) if results else ((),) * 4
        given = [result.get("segmentation") for result in results]
        masks: list[Any] = [_NO_MASK if mask is None else mask for mask in given] if None in given else given
        sides, lengths, counts = _flat(boxes), _flat(map(_SIZE, masks)), list(map(_COUNTS, masks))
        if strict:
            for values in (image_ids, category_ids, lengths):
                _require(values, int)
            for values in (scores, sides):
                _require(values, int, float)
            _require(counts, str)
            if set(map(len, boxes)) - {4} or set(map(len, map(_SIZE, masks))) - {2}:
                raise ValueError("not four sides, or not height and width")
        sizes = np.fromiter(lengths, np.int64, len(lengths)).reshape(len(results), 2)
        scanned = rle.scan(counts, sizes)
        if strict and not (scanned.consistent.all() and int((sizes < 1).any(1).sum()) == given.count(None)):
            raise ValueError("counts do not add up to the size")
        return Detections(
            np.fromiter(image_ids, np.int64, len(results)),
            np.fromiter(category_ids, np.int64, len(results)),
            np.fromiter(scores, np.float64, len(results)),
            np.fromiter(sides, np.float64, len(sides)).reshape(len(results), 4),
            counts,
            sizes,
            scanned.areas,
            scanned.boxes,
        )

    def best_of_image(self, image_id: int, count: int) -> list[Result]:
        """Records of an image's detections of highest score."""
        positions = np.flatnonzero(self.image_ids == image_id)
        records = []
        for i in positions[np.argsort(-self.scores[positions], kind="stable")][:count].tolist():
            record = Result(
                image_id=image_id,
                category_id=int(self.category_ids[i]),
                bbox=self.boxes[i].tolist(),
                score=float(self.scores[i]),
            )
            if self.masks[i]:
                record["segmentation"] = {"size": self.mask_sizes[i].tolist(), "counts": self.masks[i]}
            records.append(record)
        return records


def load_detections(
    source: Source | Sequence[Mapping[str, Any]], ground_truth: Coco, *, on_error: OnError, any_category: bool
) -> tuple[Detections, list[str]]:
    """Read and check detections as `coco.io.load_predictions` does; also one reason for each that is left out."""
    try:
        chunks = [Detections.from_results(records, strict=True) for records in _chunks(source)]
        found = Detections(*map(_join, zip(*(vars(chunk).values() for chunk in chunks), strict=True)))
        known = [category["id"] for category in ground_truth["categories"]]
        if _fit(found, ground_truth["images"]) and (any_category or np.isin(found.category_ids, known).all()):
            return found, []
    except (OSError, LookupError, TypeError, ValueError, AttributeError, OverflowError):
        pass  # checked record by record below
    file = load_predictions(source, ground_truth, on_error=on_error, any_category=any_category)
    return Detections.from_results(file.results), file.dropped


def _chunks(source: Any) -> Iterator[Sequence[Any]]:
    """Records of a results list; of a file, in chunks.

    A file is cut between two objects. A cut inside a record or a string leaves a chunk that is not JSON.
    """
    if not isinstance(source, str | Path):
        if not isinstance(source, list | tuple):
            raise TypeError("not a list of results")
        yield source
        return
    with Path(source).open("rb") as file:
        content = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))  # unmapped with the last chunk
    bracket = re.match(rb"\s*\[", content)
    if bracket is None:
        raise ValueError("not a list of results")
    start: int | None = bracket.end()
    while start is not None:
        cut = _CUT.search(content, start + _CHUNK_BYTES)
        chunk = content[start : cut.start() + 1] if cut else content[start:]
        yield orjson.loads(b"".join((b"[", chunk, b"]" if cut else b"")))
        start = cut.end() if cut else None


def _flat(values: Iterable[Iterable[Any]]) -> list[Any]:
    return list(chain.from_iterable(values))


def _join(columns: Sequence[Any]) -> Any:
    return _flat(columns) if isinstance(columns[0], list) else np.concatenate(columns)


def _require(values: Sequence[Any], *kinds: type) -> None:
    if not set(map(type, values)) <= set(kinds):  # bool is no int here
        raise TypeError("a value has another type")


def _fit(found: Detections, images: Sequence[Image]) -> bool:
    """Whether all detections lie in images that are known, with finite boxes and scores, and masks of their size."""
    known = np.array(sorted((i["id"], i["height"], i["width"]) for i in images), dtype=np.int64).reshape(-1, 3)
    if not len(found) or not len(known):
        return not len(found)
    image = known[np.searchsorted(known[:, 0], found.image_ids).clip(max=len(known) - 1)]
    x, y, width, height = found.boxes.T
    inside = (x <= image[:, 2]) & (y <= image[:, 1]) & (x + width >= 0) & (y + height >= 0)
    fit = (found.mask_sizes == image[:, 1:]).all(1) | ~found.mask_sizes.any(1)
    far = Bounds.current().reach * image[:, 1:].max(1)
    inside &= (x >= -far) & (y >= -far) & (x + width <= far + image[:, 2]) & (y + height <= far + image[:, 1])
    valid = np.isfinite(found.scores) & np.isfinite(found.boxes).all(1) & (width >= 0) & (height >= 0)
    return bool(((image[:, 0] == found.image_ids) & inside & fit & valid).all())
