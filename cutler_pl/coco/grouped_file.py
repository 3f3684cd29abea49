"""A COCO file of any size in groups of images, checked as `load_coco` does: read once and sorted by image.

In memory are about 30 bytes for each image and 8 for each annotation.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Int64

from cutler_pl.coco import validation
from cutler_pl.coco.io import check_annotations, fit_annotations
from cutler_pl.coco.records import SizeEvidence, with_file_name
from cutler_pl.coco.schema import Coco, Image
from cutler_pl.coco.sorted_records import Groups, SortedRecords
from cutler_pl.coco.stream import Batch
from cutler_pl.coco.validation import InvalidRecords
from cutler_pl.runtime.logging import get_logger

_IMAGES = 512
"""Images of a group."""

_log = get_logger(__name__)


class Group(NamedTuple):
    """Some images with their checked annotations; by id, the annotations as given, with their positions in the file."""

    coco: Coco
    given: dict[int, tuple[int, dict[str, Any]]]


class GroupedFile:
    """Images and annotations of a COCO file, in groups of images.

    Args:
        parts: The content, as of `images_first`.
        images, annotations: Where they are sorted.
        invalid: List of what is left out, and the rule whether to raise.

    Attributes:
        header: All that is neither an image nor an annotation; the categories are the valid ones.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is not COCO, or a record is invalid and the rule is to raise.
    """

    def __init__(
        self,
        parts: Iterable[tuple[str, Any]],
        images: SortedRecords,
        annotations: SortedRecords,
        invalid: InvalidRecords,
    ) -> None:
        self.header: dict[str, Any] = {}
        self._images, self._annotations, self._invalid = images, annotations, invalid
        self._image_ids, self._sizes, self._ids = array("q"), array("q"), array("q")
        self._table: ImageTable | None = None
        evidence: SizeEvidence | None = None
        for key, part in parts:
            if key == "images":
                self._add_images(part)
            elif key == "annotations":
                evidence = evidence or SizeEvidence(self.table.sizes_hw)
                self._add_annotations(part, evidence)
            elif isinstance(part, Batch):
                self.header.setdefault(key, []).extend(part)
            else:
                self.header[key] = part
        self._categories = self._check_categories()
        self._repeated = self._find_repeated_ids()
        self._swapped = (evidence or SizeEvidence(self.table.sizes_hw)).swapped()
        if count := int(self._swapped.sum()):
            _log.info("%s: swapped width and height of %d of %d images", invalid.source_name, count, len(self.table))

    @property
    def table(self) -> "ImageTable":
        """Positions of the images by id, once all are read."""
        if self._table is None:
            self._table = ImageTable(self._image_ids, self._sizes)
            for position in np.flatnonzero(self._table.repeated).tolist():
                self._invalid.add(f"image id {self._image_ids[position]} occurs more than once")
        return self._table

    def groups(self) -> Iterator[Group]:
        """Successive groups of images, with their annotations; once, since the annotations are removed meanwhile."""
        images, annotations = Groups(self._images, _IMAGES), Groups(self._annotations.drain(), _IMAGES)
        for group in range(self.num_groups):
            records = self._image_group(images.take(group))
            given = [entry for _, entry in annotations.take(group) if entry[0] not in self._repeated]
            formed = check_annotations((record for _, record in given), records, self._categories, self._invalid)
            checked = fit_annotations(formed, records, self._invalid, keep_empty_boxes=True)
            coco = {"images": [*records.values()], "annotations": checked, "categories": [*self._categories.values()]}
            yield Group(cast(Coco, coco), {record["id"]: (position, record) for position, record in given})

    def each_image(self) -> Iterator[Image]:
        """The image records, sizes corrected."""
        for position, image in self._images:
            if not self.table.repeated[position]:
                yield self._with_size(position, image)

    def images(self) -> list[Image]:
        """All of `each_image`."""
        return [*self.each_image()]

    @property
    def num_groups(self) -> int:
        """Number of groups; one where there is no image."""
        return max(1, -(-len(self.table) // _IMAGES))

    def group_of(self, image_id: Any) -> int:
        """Group of an image; 0 for an unknown one, where it is found to be so."""
        return max(self.table.position(image_id), 0) // _IMAGES if validation.is_id(image_id) else 0

    def _add_images(self, records: list[Any]) -> None:
        for record in records:
            if error := validation.image_error(record):
                self._invalid.add(error)
            else:
                self._images.add(len(self._image_ids), with_file_name(record))
                self._image_ids.append(record["id"])
                self._sizes.extend((record["height"], record["width"]))

    def _add_annotations(self, records: list[Any], evidence: SizeEvidence) -> None:
        owners, mask_sizes = [], []
        for record in records:
            if error := validation.annotation_error(record):
                self._invalid.add(error)
            elif (position := self.table.position(record["image_id"])) < 0:
                self._invalid.add(f"annotation {record['id']} is for the unknown image {record['image_id']}")
            else:
                self._annotations.add(position, (len(self._ids), record))
                self._ids.append(record["id"])
                owners.append(position)
                mask_sizes.append(validation.mask_size(record) or (0, 0))
        evidence.add(np.array(owners, dtype=np.int64), np.array(mask_sizes, dtype=np.int64).reshape(-1, 2))

    def _check_categories(self) -> dict[int, Any]:
        found: dict[int, Any] = {}
        for record in self.header["categories"]:
            if (error := validation.category_error(record)) or record["id"] in found:
                self._invalid.add(error or f"category id {record['id']} occurs more than once")
            else:
                found[record["id"]] = record
        self.header["categories"] = [*found.values()]
        return found

    def _find_repeated_ids(self) -> set[int]:
        """Positions of the annotations whose id an earlier one has."""
        repeated = np.flatnonzero(_repeated(np.array(self._ids, dtype=np.int64))).tolist()
        for position in repeated:
            self._invalid.add(f"annotation id {self._ids[position]} occurs more than once")
        self._ids = array("q")
        return set(repeated)

    def _image_group(self, numbered: Iterable[tuple[int, Image]]) -> dict[int, Image]:
        return {
            image["id"]: self._with_size(position, image)
            for position, image in numbered
            if not self.table.repeated[position]
        }

    def _with_size(self, position: int, image: Image) -> Image:
        if not self._swapped[position]:
            return image
        return cast(Image, {**image, "height": image["width"], "width": image["height"]})


class ImageTable:
    """Positions and sizes of images by id."""

    def __init__(self, ids: Sequence[int], sizes: Sequence[int]) -> None:
        numbers = np.array(ids, dtype=np.int64)
        self.sizes_hw: Int64[np.ndarray, "images 2"] = np.array(sizes, dtype=np.int64).reshape(-1, 2)
        self.repeated: Bool[np.ndarray, " images"] = _repeated(numbers)
        order = np.argsort(numbers, kind="stable")
        self._order, self._sorted = array("q", order.tobytes()), array("q", numbers[order].tobytes())

    def __len__(self) -> int:
        return len(self._sorted)

    def position(self, image_id: int) -> int:
        """Position of the first image of this id; -1 where there is none."""
        place = bisect_left(self._sorted, image_id)
        return self._order[place] if place < len(self._sorted) and self._sorted[place] == image_id else -1


def _repeated(ids: Int64[np.ndarray, " records"]) -> Bool[np.ndarray, " records"]:
    """Whether an earlier record has the same id."""
    order = np.argsort(ids, kind="stable")
    repeated = np.zeros(len(ids), dtype=bool)
    repeated[order[1:]] = np.diff(ids[order]) == 0
    return repeated
