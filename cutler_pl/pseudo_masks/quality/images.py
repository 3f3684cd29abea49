"""Images that cannot be read, and near-duplicates by a difference hash of 64 bits and the mean color."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8, UInt64
from PIL import Image

from cutler_pl.coco.file_names import path_below
from cutler_pl.errors import AnnotationError, DatasetNotFoundError, ImageReadError
from cutler_pl.images import list_images, read_image, read_oriented
from cutler_pl.pseudo_masks.quality.masks import MAX_NAMES, evenly_spaced

_MAX_COLOR_DISTANCE = 24.0
"""Grey levels between the mean colors of two near-duplicates; flat images of other colors have equal hashes."""
_PAIRS = 1 << 20
"""Pairs of images compared at a time."""


@dataclass(frozen=True, kw_only=True)
class ImageFigures:
    """Figures of the image files.

    Attributes:
        opened: Images that were opened.
        unreadable: Reason per image that cannot be read, or has another size than its annotations say.
        without_record: Readable images of the folder that have no image record.
        near_duplicates: Groups of file names of images that look the same.
        longer_side: Median of the images' longer sides in pixels; 0 without a readable image.
    """

    opened: int
    unreadable: Mapping[str, str]
    without_record: Sequence[str]
    near_duplicates: Sequence[Sequence[str]] = field(default_factory=list)
    longer_side: int = 0

    @property
    def duplicate_share(self) -> float:
        """Share of the images that look like an earlier one."""
        extra = sum(len(group) - 1 for group in self.near_duplicates)
        return extra / max(1, self.opened - len(self.unreadable))


def read_images(
    folder: Path, sizes_hw: Mapping[str, tuple[int, int]], *, source: str, max_images: int, max_distance: int
) -> ImageFigures:
    """Open images of a folder and of its annotations, evenly spaced.

    Args:
        folder: The folder that file names are relative to.
        sizes_hw: Annotated height and width by file name.
        source: The annotation file, for messages.
        max_images: Largest number of images to open.
        max_distance: Largest number of bits in which the hashes of near-duplicates differ.

    Raises:
        AnnotationError: The annotations are of other images, or a file name leads out of the folder.
        ImageReadError: None of the images can be read.
    """
    try:
        in_folder = set(list_images(folder)[1])
    except DatasetNotFoundError:  # a file name may have any ending
        in_folder = set()
    if not any(name in in_folder or path_below(folder, name).is_file() for name in sizes_hw):
        raise AnnotationError(
            f"{source}: none of its {len(sizes_hw)} images is in {folder}, the first is {next(iter(sizes_hw))}; give "
            "the folder that MaskCut had as input=, or the annotations of these images"
        )
    names = sorted({*sizes_hw, *in_folder})
    unreadable: dict[str, str] = {}
    without_record, seen, sides = [], [], []
    hashes, colors = [], []
    chosen = [names[i] for i in evenly_spaced(len(names), max_images)]
    for name in chosen:
        path = path_below(folder, name)
        try:
            size_hw = sizes_hw.get(name)
            pixels = read_image(path) if size_hw is None else read_oriented(path, size_hw)
        except ImageReadError as error:
            unreadable[name] = str(error)
            continue
        if name not in sizes_hw:
            without_record.append(name)
        seen.append(name)
        sides.append(max(pixels.shape[:2]))
        hashes.append(difference_hash(pixels))
        colors.append(pixels.reshape(-1, 3)[:: max(1, len(pixels) * pixels.shape[1] // 10_000)].mean(0))
    if not seen:
        name, reason = next(iter(unreadable.items()))
        raise ImageReadError(f"{folder}: none of its {len(chosen)} images can be read, for example {name}: {reason}")
    groups = near_duplicates(np.array(hashes, dtype=np.uint64), np.stack(colors), max_distance=max_distance)
    return ImageFigures(
        opened=len(chosen),
        unreadable=unreadable,
        without_record=without_record[:MAX_NAMES],
        near_duplicates=[[seen[i] for i in group] for group in groups],
        longer_side=int(np.median(sides)),
    )


def difference_hash(image: UInt8[np.ndarray, "height width 3"]) -> int:
    """64 bits: whether each of 8 × 8 grey cells is darker than its right neighbour in 8 rows of 9."""
    grey = Image.fromarray(image).convert("L").resize((9, 8), Image.Resampling.BOX)
    cells = np.asarray(grey, dtype=np.int16)
    return int.from_bytes(np.packbits(cells[:, :-1] < cells[:, 1:]).tobytes(), "big")


def near_duplicates(
    hashes: UInt64[np.ndarray, " images"], colors: Float[np.ndarray, "images 3"], *, max_distance: int
) -> list[list[int]]:
    """Groups of images: one, and later ones that are near it or one of its group in hash and mean color."""
    groups: dict[int, list[int]] = {}
    group_of: list[int] = []
    step = max(1, _PAIRS // max(1, len(hashes)))
    for start in range(0, len(hashes), step):
        rows = slice(start, start + step)
        near = np.bitwise_count(hashes[rows, None] ^ hashes[None]) <= max_distance
        near &= np.abs(colors[rows, None] - colors[None]).max(-1) <= _MAX_COLOR_DISTANCE
        near &= np.arange(len(hashes)) < start + np.arange(len(near))[:, None]
        earliest = np.where(near.any(1), near.argmax(1), -1).tolist()
        for image, earlier in enumerate(earliest, start):
            group_of.append(image if earlier < 0 else group_of[earlier])
            groups.setdefault(group_of[image], []).append(image)
    return [group for group in groups.values() if len(group) > 1]
