"""YOLO segmentation: a text file per image, a line per object, and `data.yaml` with the classes.

A line is the class, from 0, and one ring of points relative to the image's size: holes and parts are bridged. An object
without a mask is the ring of its box, since a data set with boxes and rings is taken for one of boxes only.
"""

import shutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import yaml

from cutler_pl.coco.outlines import Crop, crops, rings
from cutler_pl.datasets.formats.label_file import LabeledImage, LabelFile, clipped_box, label_name
from cutler_pl.datasets.formats.options import PRODUCER, ExportOptions
from cutler_pl.errors import OutputWriteError
from cutler_pl.runtime.files import wrap_os_errors

IMAGES, LABELS, DATA = "images", "labels", "data.yaml"


def write(labels: LabelFile, folder: Path, options: ExportOptions) -> None:
    """Write `labels/`, `data.yaml` and, unless the images are there already, `images/`.

    Raises:
        AnnotationError: Two images would have the same label file.
        OutputWriteError: An image cannot be linked.
    """
    numbers = {category["id"]: number for number, category in enumerate(labels.categories)}
    names: dict[str, str] = {}
    for image in labels.without_crowds():
        name = label_name(image.record, names, labels.source)
        path = folder / LABELS / f"{name}.txt"
        with wrap_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_lines(image, numbers), encoding="ascii")
        if options.image_files != "none":
            put_image(image.path, folder / IMAGES / image.record["file_name"], options.image_files == "copy")
    with wrap_os_errors(folder / DATA):
        (folder / DATA).write_text(_data(labels), encoding="utf-8")


def put_image(source: Path, target: Path, is_copied: bool) -> None:
    """Link or copy an image.

    Raises:
        OutputWriteError: The file system has no links, or there is no space or permission.
    """
    with wrap_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_copied:
            shutil.copyfile(source, target)
            return
    try:
        target.symlink_to(source.resolve())
    except OSError as error:
        raise OutputWriteError(
            f"{target}: cannot be linked ({error.strerror}); copy the images by image_files=copy"
        ) from error


def points(crop: Crop | None, box_xyxy: Sequence[float], size_hw: tuple[int, int]) -> str:
    """Points of an object relative to its image: of its mask, or of its box where it has none."""
    height, width = size_hw
    if crop is None:
        x0, y0, x1, y1 = box_xyxy
        corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        return " ".join([f"{x / width:.7g} {y / height:.7g}" for x, y in corners])
    xs, ys = _relative(width), _relative(height)
    (ring,) = rings(crop, joined=True)
    return " ".join([f"{xs[x]} {ys[y]}" for x, y in ring.tolist()])


def _lines(image: LabeledImage, numbers: Mapping[int, int]) -> str:
    found = iter(crops([mask for _, mask in image.objects if mask]))
    size = image.record["height"], image.record["width"]
    lines = []
    for record, mask in image.objects:
        ring = points(next(found) if mask else None, clipped_box(image.record, record), size)
        lines.append(f"{numbers[record['category_id']]} {ring}\n")
    return "".join(lines)


@lru_cache(maxsize=8)
def _relative(length: int) -> list[str]:
    """Text of each pixel edge, relative to the length."""
    return [f"{edge / length:.7g}" for edge in range(length + 1)]


def _data(labels: LabelFile) -> str:
    names = {number: category["name"] for number, category in enumerate(labels.categories)}
    content = {"train": IMAGES, "val": IMAGES, "nc": len(names), "names": names}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return f"# Written by {PRODUCER}; all images are in one set: give val= one of its own before measuring.\n{text}"
