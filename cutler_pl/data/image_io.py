"""Images oriented as their annotations, and the record of those that cannot be read."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from cutler_pl.errors import ImageReadError
from cutler_pl.images import read_image
from cutler_pl.runtime.logging import get_logger

_log = get_logger(__name__)


class Failure(NamedTuple):
    """An image that could not be used, and why."""

    file: str
    reason: str


class Failures(list[Failure]):
    """Record of unusable images; each file is logged once."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[str] = set()

    def add(self, failures: Iterable[Failure]) -> None:
        """Record failures that are not known yet."""
        for failure in failures:
            if failure.file not in self._known:
                self._known.add(failure.file)
                self.append(failure)
                _log.warning("left out an image: %s", failure.reason)


def read_oriented(
    path: Path, size_hw: tuple[int, int], *, exchangeable: bool = False
) -> UInt8[np.ndarray, "height width 3"]:
    """Read an image in the orientation of its annotations.

    That is upright, unless only the stored orientation has the annotated size: the original's pseudo-masks of images
    with an EXIF rotation were drawn on pixels as stored.

    Args:
        path: Image file.
        size_hw: Height and width according to the annotations.
        exchangeable: Accept annotations with height and width swapped: right without run-length masks, whose size
            would be known.

    Raises:
        ImageReadError: The file is unreadable, or of another size.
    """
    image = read_image(path)
    if image.shape[:2] == size_hw or (exchangeable and image.shape[1::-1] == size_hw):
        return image
    if image.shape[1::-1] == size_hw and (stored := read_image(path, upright=False)).shape[:2] == size_hw:
        return stored
    raise ImageReadError(
        f"{path}: the image has {image.shape[0]}×{image.shape[1]} pixels, but {size_hw[0]}×{size_hw[1]} (height×width) "
        "according to its annotations; they belong to another version of the image"
    )
