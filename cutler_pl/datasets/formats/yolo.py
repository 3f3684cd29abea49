"""YOLO segmentation: a text file per image, a line per object, and `data.yaml` with the classes.

A line is the class, from 0, and one ring of points relative to the image's size: holes and parts are bridged. An object
without a mask is the ring of its box, since a data set with boxes and rings is taken for one of boxes only.
"""

import shutil
from functools import lru_cache
from pathlib import Path, PurePosixPath

import yaml

from cutler_pl.coco.outlines import crops, rings
from cutler_pl.coco.schema import Annotation, Image
from cutler_pl.datasets.formats.label_file import LabeledImage, LabelFile, clipped_box
from cutler_pl.datasets.formats.options import PRODUCER, ExportOptions
from cutler_pl.errors import AnnotationError, OutputWriteError
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
        lines = [f"{numbers[record['category_id']]} {points}\n" for record, points in _objects(image)]
        path = folder / LABELS / f"{name}.txt"
        with wrap_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(lines), encoding="ascii")
        if options.image_files != "none":
            put_image(image.path, folder / IMAGES / image.record["file_name"], options.image_files == "copy")
    with wrap_os_errors(folder / DATA):
        (folder / DATA).write_text(_data(labels), encoding="utf-8")


def label_name(image: Image, names: dict[str, str], source: Path) -> str:
    """Name of an image's label file without its ending.

    Args:
        image: The record.
        names: Image by label file, of all before; this one is added.
        source: Where it comes from.

    Raises:
        AnnotationError: Another image has the same.
    """
    name = str(PurePosixPath(image["file_name"]).with_suffix(""))
    if name in names:
        raise AnnotationError(
            f"{source}: {names[name]} and {image['file_name']} would have the same label file {name}; rename one"
        )
    names[name] = image["file_name"]
    return name


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


def _objects(image: LabeledImage) -> list[tuple[Annotation, str]]:
    width, height = image.record["width"], image.record["height"]
    xs, ys = _relative(width), _relative(height)
    outlines = iter(crops([mask for _, mask in image.objects if mask]))
    lines = []
    for record, mask in image.objects:
        crop = next(outlines) if mask else None
        if crop is not None:
            (ring,) = rings(crop, joined=True)
            points = " ".join([f"{xs[x]} {ys[y]}" for x, y in ring.tolist()])
        else:
            x0, y0, x1, y1 = clipped_box(image.record, record)
            corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
            points = " ".join([f"{x / width:.7g} {y / height:.7g}" for x, y in corners])
        lines.append((record, points))
    return lines


@lru_cache(maxsize=8)
def _relative(length: int) -> list[str]:
    """Text of each pixel edge, relative to the length."""
    return [f"{edge / length:.7g}" for edge in range(length + 1)]


def _data(labels: LabelFile) -> str:
    names = {number: category["name"] for number, category in enumerate(labels.categories)}
    content = {"train": IMAGES, "val": IMAGES, "nc": len(names), "names": names}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return f"# Written by {PRODUCER}; all images are in one set: give val= one of its own before measuring.\n{text}"
