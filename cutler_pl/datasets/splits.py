"""Training on few labels: K % of the images of a COCO file, with all their annotations.

Which images the original's K % files hold is known from those files alone (`prepare_dataset.py name=coco_semi_10
fetch=true`). Own splits are drawn by sorting images by a hash of seed and image id, and depend on nothing else.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cutler_pl.coco.json_text import read_json_file, shown
from cutler_pl.coco.stream import read_records, writing_coco
from cutler_pl.coco.validation import image_error, is_id, is_integer, is_mapping
from cutler_pl.errors import AnnotationError, ConfigError, DatasetNotFoundError


@dataclass
class ImageList:
    """The images of a COCO file, and its header: everything but images and annotations.

    `ids` are in the order of the file; the `usable` images have an annotation that is no crowd.
    """

    ids: list[int] = field(default_factory=list)
    usable: set[int] = field(default_factory=set)
    header: dict[str, Any] = field(default_factory=dict)


def read_images(source: Path) -> ImageList:
    """Read what splits are drawn from, in one pass over a file of any size.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is not JSON or not COCO, or an image record is invalid or occurs twice.
    """
    images = ImageList(header={"categories": []})
    lists: dict[str, list[Any]] = {}
    for key, record in read_records(source):
        if key == "images":
            if error := image_error(record):
                raise AnnotationError(f"{source}: {error}; download it again")
            images.ids.append(record["id"])
        elif key == "annotations":
            if not is_mapping(record) or not is_id(record.get("image_id")):
                number = shown(record.get("id") if is_mapping(record) else record)
                raise AnnotationError(f"{source}: annotation {number} has no integer image_id; download it again")
            if not record.get("iscrowd"):
                images.usable.add(record["image_id"])
        elif key in ("categories", "licenses"):
            lists.setdefault(key, []).append(record)
        else:
            images.header[key] = record
    images.header |= lists
    if twice := [number for number, count in Counter(images.ids).items() if count > 1]:
        raise AnnotationError(f"{source}: image id {twice[0]} occurs more than once; repair the file")
    return images


def draw_images(ids: Sequence[int], percent: float, *, seed: int, nested: bool) -> frozenset[int]:
    """Choose a share of the images.

    Args:
        percent: Share in percent; the number of images is rounded, and at least one.
        nested: Whether a larger share with the same seed contains this one; else shares are drawn independently.

    Raises:
        ConfigError: The share is not between 0 and 100.
    """
    if not 0 < percent <= 100:
        raise ConfigError(f"{percent:g} % is no share of the images; expected more than 0 and at most 100")
    salt = f"{seed}" if nested else f"{seed}:{percent:g}"
    ordered = sorted(ids, key=lambda number: hashlib.sha256(f"{salt}:{number}".encode()).digest())
    return frozenset(ordered[: max(1, round(len(ids) * percent / 100))])


def listed_images(lists: Path, percent: float, *, seed: int, images: ImageList) -> frozenset[int]:
    """Images of a list in the form of unbiased-teacher's `COCO_supervision.txt`: `{percent: {seed: [number, …]}}`.

    The numbers count, from 0, the images that detectron2 trains on, which are those with an annotation that is no
    crowd, by ascending id: 117,266 of train2017, of which the lists hold 1, 2, 5 and 10 % rounded down.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file has another form, no such list, or a list for another annotation file.
    """
    if not lists.is_file():
        raise DatasetNotFoundError(f"{lists}: no such file; give lists=<COCO_supervision.txt>")
    content = read_json_file(lists, what="list of images", way_out="give lists=<COCO_supervision.txt>")
    try:
        by_percent = {float(share): by_seed for share, by_seed in content.items()}
        numbers = by_percent[percent][str(seed)]
    except KeyError as error:
        offers = "; ".join(f"{share:g} %: seeds {' '.join(seeds)}" for share, seeds in by_percent.items())
        raise AnnotationError(f"{lists}: no list of {percent:g} % with seed {seed}; there are {offers}") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise AnnotationError(f"{lists}: not of the form {{percent: {{seed: [number, …]}}}} ({error})") from error
    usable = sorted(images.usable.intersection(images.ids))
    if not isinstance(numbers, list) or not all(is_integer(n) and 0 <= n < len(usable) for n in numbers):
        raise AnnotationError(
            f"{lists}: the list of {percent:g} % with seed {seed} is for another annotation file than the one given, "
            f"which has {len(usable):,} images with objects"
        )
    return frozenset(usable[number] for number in numbers)


def write_splits(source: Path, splits: Mapping[Path, frozenset[int]], header: Mapping[str, Any]) -> dict[Path, int]:
    """Write the records of chosen images, given by file, in one pass over a source of any size.

    Returns:
        Number of annotations by file.

    Raises:
        AnnotationError: The source is not JSON or not COCO.
        OutputWriteError: There is no space or no permission.
    """
    counts = dict.fromkeys(splits, 0)
    with ExitStack() as stack:
        writers = {path: stack.enter_context(writing_coco(path, header)) for path in splits}
        for key, record in read_records(source):
            if key not in ("images", "annotations") or not isinstance(record, Mapping):
                continue
            number = record.get("id" if key == "images" else "image_id")
            for path, chosen in splits.items():
                if number not in chosen:
                    continue
                try:
                    (writers[path].image if key == "images" else writers[path].annotation)(record)
                except AnnotationError as error:
                    raise AnnotationError(f"{source}: {error}") from error
                counts[path] += key == "annotations"
    return counts
