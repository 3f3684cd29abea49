"""Where the original downloads of the recipe's datasets have their parts, and which converter reads them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cutler_pl.datasets.catalog import CATALOG
from cutler_pl.datasets.converters.coco20k import read_ids
from cutler_pl.datasets.converters.coco_json import Selection, read_coco
from cutler_pl.datasets.converters.kitti import read_kitti
from cutler_pl.datasets.converters.lvis import lvis_selection
from cutler_pl.datasets.converters.openimages import read_openimages
from cutler_pl.datasets.converters.records import Marked, Record
from cutler_pl.datasets.converters.voc import read_voc
from cutler_pl.errors import ConfigError, DatasetNotFoundError


@dataclass(frozen=True)
class Options:
    """How a download is read; what is None is as usual for the dataset.

    Attributes:
        annotations: Annotation file, or folder of annotation files, that is not in its usual place.
        images: Folder of the photos.
        check_images: Whether each photo must be there, with the size that the annotations say.
        marked: What becomes of objects marked as not to be counted.
        splits: VOC's lists.
        ids: COCO20K's list of images.
        synsets: lvis-api's `coco_to_synset.json`, to keep COCO's categories alone.
    """

    annotations: Path | None = None
    images: Path | None = None
    check_images: bool = True
    marked: Marked | None = None
    splits: Sequence[str] | None = None
    ids: Path | None = None
    synsets: Path | None = None


@dataclass(frozen=True)
class Download:
    """A download that was found.

    Attributes:
        records: What the converter yields, read as it is asked for.
        annotations: The file or folder that is read.
        photos: The folder of the photos, if they are looked at.
        prefix: What the file names in the COCO file have before the names in `photos`.
    """

    records: Iterator[Record]
    annotations: Path
    photos: Path | None
    prefix: str


class _Parts(NamedTuple):
    annotations: Path
    photos: Path | None
    prefix: str
    marked: Marked


_Reader = Callable[[_Parts, Options, Path], Iterator[Record]]


@dataclass(frozen=True)
class _Layout:
    """A dataset's parts relative to the root; of several places the first that is there counts."""

    read: _Reader
    annotations: Sequence[str]
    photos: Sequence[str]
    prefix: str = ""
    marked: Marked = "ignore"
    needs_photos: bool = False


def _voc_reader(*splits: str) -> _Reader:
    def read(parts: _Parts, options: Options, root: Path) -> Iterator[Record]:
        chosen = splits if options.splits is None else options.splits
        folder = parts.annotations.parent
        return read_voc(folder, splits=chosen, photos=parts.photos, prefix=parts.prefix, marked=parts.marked)

    return read


def _read_kitti(parts: _Parts, options: Options, root: Path) -> Iterator[Record]:
    return read_kitti(parts.annotations, photos=_needed(parts), prefix=parts.prefix, marked=parts.marked)


def _read_openimages(parts: _Parts, options: Options, root: Path) -> Iterator[Record]:
    return read_openimages(parts.annotations, photos=_needed(parts), prefix=parts.prefix, marked=parts.marked)


def _read_coco(parts: _Parts, options: Options, root: Path) -> Iterator[Record]:
    return read_coco(parts.annotations, photos=parts.photos, marked=parts.marked)


def _read_coco20k(parts: _Parts, options: Options, root: Path) -> Iterator[Record]:
    selection = Selection(images=read_ids(options.ids or root / "coco_20k_filenames.txt"))
    return read_coco(parts.annotations, photos=parts.photos, marked=parts.marked, selection=selection)


def _read_lvis(parts: _Parts, options: Options, root: Path) -> Iterator[Record]:
    selection = lvis_selection(parts.annotations, options.synsets)
    return read_coco(parts.annotations, photos=parts.photos, marked=parts.marked, selection=selection)


def _needed(parts: _Parts) -> Path:
    if parts.photos is None:
        raise ConfigError("the annotations hold no image sizes, so the photos are needed; set check_images=true")
    return parts.photos


def _cross_domain(name: str) -> _Layout:
    return _Layout(
        _voc_reader("train", "test"),
        ("Annotations", f"{name}/Annotations"),
        ("JPEGImages", f"{name}/JPEGImages"),
        prefix="JPEGImages/",
        marked="keep",
    )


_LAYOUTS: dict[str, _Layout] = {
    "coco": _Layout(_read_coco, ("annotations/instances_val2017.json", "instances_val2017.json"), ("val2017",)),
    "coco20k": _Layout(
        _read_coco20k, ("annotations/instances_train2014.json", "instances_train2014.json"), ("train2014",)
    ),
    "lvis": _Layout(
        _read_lvis,
        ("lvis_v1_val.json", "annotations/lvis_v1_val.json", "lvis_v0.5_val.json", "annotations/lvis_v0.5_val.json"),
        ("coco",),
    ),
    "voc": _Layout(
        _voc_reader("trainval", "test"),
        ("VOCdevkit/VOC2007/Annotations", "VOC2007/Annotations", "Annotations"),
        ("VOCdevkit/VOC2007/JPEGImages", "VOC2007/JPEGImages", "JPEGImages"),
        prefix="VOC2007/JPEGImages/",
        marked="keep",
    ),
    "uvo": _Layout(
        _read_coco,
        tuple(
            folder + name
            for folder in ("", "annotations/", "FrameSet/", "VideoSparseSet/")
            for name in ("val_sparse_cleaned.json", "UVO_sparse_val.json", "UVO_frame_val.json")
        ),
        ("all_UVO_frames", "uvo_videos_sparse_frames", "uvo_videos_frames"),
    ),
    **{name: _cross_domain(name) for name in ("clipart", "watercolor", "comic")},
    "kitti": _Layout(
        _read_kitti,
        ("training/label_2", "label_2"),
        ("training/image_2", "image_2"),
        prefix="JPEGImages/",
        needs_photos=True,
    ),
    "objects365": _Layout(
        _read_coco,
        ("zhiyuan_objv2_val.json", "annotations/zhiyuan_objv2_val.json", "val/zhiyuan_objv2_val.json"),
        ("val", "images/val"),
    ),
    "openimages": _Layout(
        _read_openimages,
        (
            "validation-annotations-bbox.csv",
            "annotations/validation-annotations-bbox.csv",
            "oidv6-validation-annotations-bbox.csv",
        ),
        ("validation", "images/validation"),
        needs_photos=True,
    ),
}
CONVERTED = tuple(_LAYOUTS)
"""The datasets that can be converted."""


def open_download(name: str, root: Path, *, datasets: Path, options: Options) -> Download:
    """Find the parts of a download, and start its converter.

    Args:
        name: One of `CONVERTED`.
        root: Folder of the download.
        datasets: The datasets folder, whose photos are taken where the download has none.
        options: What is not as usual.

    Raises:
        ConfigError: The dataset has no converter, or the options do not suit it.
        DatasetNotFoundError: A part is missing; the message says where it was looked for.
        AnnotationError: A list of images or categories is of another form.
    """
    if name not in _LAYOUTS:
        raise ConfigError(f"name={name} is no dataset that can be converted; choose among {' '.join(CONVERTED)}")
    if not root.is_dir():
        raise DatasetNotFoundError(f"{root}: no such folder; give root=<folder of the download of {name}>")
    layout = _LAYOUTS[name]
    annotations = options.annotations or _first(root, layout.annotations)
    if annotations is None or not annotations.exists():
        looked = annotations or f"{root}/ with {' or '.join(layout.annotations)}"
        raise DatasetNotFoundError(
            f"no annotations of {name}: looked for {looked}; give the root of the download, or annotations=<path>"
        )
    photos = _photos(name, root, layout, datasets, options) if options.check_images or layout.needs_photos else None
    parts = _Parts(annotations, photos, layout.prefix, options.marked or layout.marked)
    return Download(layout.read(parts, options, root), annotations, photos, layout.prefix)


def _photos(name: str, root: Path, layout: _Layout, datasets: Path, options: Options) -> Path:
    laid_out = datasets / CATALOG[name].images / layout.prefix
    places = [options.images] if options.images else [*(root / place for place in layout.photos), laid_out]
    if name == "lvis" and not options.images:  # the root of COCO, with a folder for each of its parts
        places = [place for place in (root, *places) if (place / "val2017").is_dir()] or places
    for place in places:
        if place.is_dir():
            return place
    without = "" if layout.needs_photos else ", or trust the annotations by check_images=false"
    raise DatasetNotFoundError(
        f"no photos of {name}: looked for the folder {' or '.join(map(str, places))}; give images=<folder>{without}"
    )


def _first(root: Path, places: Sequence[str]) -> Path | None:
    return next((root / place for place in places if (root / place).exists()), None)
