"""The images of a COCO file that are trained on, and what their categories are called as labels."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from cutler_pl.coco.index import InstanceIndex, Objects, open_index
from cutler_pl.errors import AnnotationError, DatasetNotFoundError
from cutler_pl.runtime.files import is_file
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import Count, check_fields

MAX_FAILURE_RATE = 0.05
"""Largest share of missing or unreadable images that a run accepts."""

_CHECKED_FILES = 200
_WAY_OUT = (
    "set data.images=<folder> data.annotations=<json> to train on any COCO-format data, "
    "or run `cutler quickstart`, which needs no data"
)

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """Which images and objects of a COCO file are trained on.

    Args:
        images: Folder that the file names in the annotations are relative to.
        annotations: COCO JSON.
        class_agnostic: Take all categories as one, label 1; else labels count the category ids in ascending order.
        filter_empty: Leave out images without objects.
        relative_scores: Take each score over the largest of its image, as VoteCut's are, so that an image's best object
            counts in full as a soft target.
        max_images: Number of images, the first of the file; None for all.
        index_dir: Folder of the annotation index; None: beside the JSON, or temporary where that is read-only.
    """

    images: str | Path
    annotations: str | Path
    class_agnostic: bool
    filter_empty: bool
    relative_scores: bool = False
    max_images: Count | None = None
    index_dir: str | Path | None = None

    def __post_init__(self) -> None:
        check_fields(self, "data.")

    @cached_property
    def index(self) -> InstanceIndex:
        """Annotations; built at the first use."""
        return open_index(self.annotations, index_dir=self.index_dir)

    @cached_property
    def chosen(self) -> Int64[np.ndarray, " chosen"]:
        """Positions in the index of the images to train on."""
        chosen = np.flatnonzero(self.index.count_objects()) if self.filter_empty else np.arange(len(self.index))
        return chosen[: self.max_images]

    @property
    def category_ids(self) -> list[int]:
        """COCO category id of label 1, 2, …; class-agnostic: [1], as in the original."""
        return [1] if self.class_agnostic else list(self.index.categories)

    @property
    def class_names(self) -> list[str]:
        """Name of label 1, 2, …"""
        return ["fg"] if self.class_agnostic else list(self.index.categories.values())

    @property
    def labels(self) -> dict[int, int]:
        """Label of each category id."""
        return {id_: 1 if self.class_agnostic else 1 + i for i, id_ in enumerate(self.index.categories)}

    def scores(self, objects: Objects) -> Float32[np.ndarray, " gt"]:
        """How far the objects of an image can be trusted, crowd regions aside."""
        best = objects.scores.max(initial=0, where=~objects.is_crowd)
        return objects.scores / best if self.relative_scores and best > 0 else objects.scores

    def check(self) -> None:
        """Find what is wrong with the data before anything expensive is done.

        Raises:
            DatasetNotFoundError: The image folder, the annotation file or too many of the images are missing.
            AnnotationError: The annotations are not COCO, invalid, or hold nothing to train on.
        """
        if not Path(self.annotations).is_file():
            raise DatasetNotFoundError(f"no annotation file {self.annotations} (data.annotations); {_WAY_OUT}")
        if not Path(self.images).is_dir():
            raise DatasetNotFoundError(f"no image folder {self.images} (data.images); {_WAY_OUT}")
        if len(self.chosen) == 0:
            raise AnnotationError(
                f"{self.annotations}: nothing to train on, none of its {len(self.index)} images has an object; "
                "set data.annotations=<json> to a file with annotations"
            )
        if count := self.index.count_without_mask():
            raise AnnotationError(
                f"{self.annotations}: {count} objects have a box but no segmentation, and training needs masks; "
                "set data.annotations=<json> to a file with masks"
            )
        self.index.check_names(self.images, self.annotations)
        self._check_files()
        objects, classes = self.index.count_objects()[self.chosen].sum(), len(self.category_ids)
        counts = len(self.chosen), len(self.index), objects, classes
        _log.info("training data: %d of %d images with %d objects of %d classes (%s)", *counts, self.annotations)

    def _check_files(self) -> None:
        """Look for some of the files, evenly spread over the dataset."""
        count = min(len(self.chosen), _CHECKED_FILES)
        positions = self.chosen[np.linspace(0, len(self.chosen) - 1, count).astype(np.int64)]
        paths = [Path(self.images) / self.index.file_names[int(position)] for position in positions]
        missing = [path for path in paths if not is_file(path)]
        if len(missing) > MAX_FAILURE_RATE * len(paths):
            raise DatasetNotFoundError(
                f"{len(missing)} of {len(paths)} image files that were looked for are missing, such as {missing[0]}; "
                f"set data.images=<folder> to the folder that the file names in {self.annotations} are relative to"
            )
        if missing:
            _log.warning("%d of %d image files looked for are missing: %s", len(missing), len(paths), missing[0])
