"""Where the recipe's datasets, as downloaded, have their annotations and images, and which converter reads them."""

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
from cutler_pl.datasets.converters.records import MarkedPolicy, Record, Source
from cutler_pl.datasets.converters.voc import read_voc
from cutler_pl.errors import ConfigError, DatasetNotFoundError


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a dataset is read; None is the dataset's usual.

    Attributes:
        annotations: Annotation file, or folder of annotation files.
        check_images: Whether each image must be there, of the annotated size.
        splits: VOC's lists.
        ids: COCO20K's list of images.
        synsets: lvis-api's `coco_to_synset.json`, to keep COCO's categories alone.
    """

    annotations: Path | None = None
    images: Path | None = None
    check_images: bool = True
    marked: MarkedPolicy | None = None
    splits: Sequence[str] | None = None
    ids: Path | None = None
    synsets: Path | None = None


class Download(NamedTuple):
    """A dataset as downloaded: its parts, and what the converter yields, read as it is asked for."""

    source: Source
    records: Iterator[Record]


_Reader = Callable[[Source, Options, Path], Iterator[Record]]


@dataclass(frozen=True)
class _Layout:
    """Parts of a dataset relative to its root; of several paths the first that exists counts."""

    read: _Reader
    annotations: Sequence[str]
    images: Sequence[str]
    prefix: str = ""
    marked: MarkedPolicy = "ignore"
    needs_images: bool = False


def _voc(*splits: str) -> _Reader:
    return lambda source, options, root: read_voc(source, splits=splits if options.splits is None else options.splits)


def _coco20k(source: Source, options: Options, root: Path) -> Iterator[Record]:
    return read_coco(source, selection=Selection(images=read_ids(options.ids or root / "coco_20k_filenames.txt")))


def _lvis(source: Source, options: Options, root: Path) -> Iterator[Record]:
    return read_coco(source, selection=lvis_selection(source.annotations, options.synsets))


def _plain(read: Callable[[Source], Iterator[Record]]) -> _Reader:
    return lambda source, options, root: read(source)


def _cross_domain(name: str) -> _Layout:
    return _Layout(
        _voc("train", "test"),
        ("Annotations", f"{name}/Annotations"),
        ("JPEGImages", f"{name}/JPEGImages"),
        prefix="JPEGImages/",
        marked="keep",
    )


def _in_annotations(*names: str) -> tuple[str, ...]:
    return tuple(folder + name for name in names for folder in ("", "annotations/"))


_LAYOUTS: dict[str, _Layout] = {
    "coco": _Layout(_plain(read_coco), _in_annotations("instances_val2017.json"), ("val2017",)),
    "coco20k": _Layout(_coco20k, _in_annotations("instances_train2014.json"), ("train2014",)),
    "lvis": _Layout(_lvis, _in_annotations("lvis_v1_val.json", "lvis_v0.5_val.json"), ("coco",)),
    "voc": _Layout(
        _voc("trainval", "test"),
        ("VOCdevkit/VOC2007/Annotations", "VOC2007/Annotations", "Annotations"),
        ("VOCdevkit/VOC2007/JPEGImages", "VOC2007/JPEGImages", "JPEGImages"),
        prefix="VOC2007/JPEGImages/",
        marked="keep",
    ),
    "uvo": _Layout(
        _plain(read_coco),
        tuple(
            folder + name
            for folder in ("", "annotations/", "FrameSet/", "VideoSparseSet/")
            for name in ("val_sparse_cleaned.json", "UVO_sparse_val.json", "UVO_frame_val.json")
        ),
        ("all_UVO_frames", "uvo_videos_sparse_frames", "uvo_videos_frames"),
    ),
    **{name: _cross_domain(name) for name in ("clipart", "watercolor", "comic")},
    "kitti": _Layout(
        _plain(read_kitti),
        ("training/label_2", "label_2"),
        ("training/image_2", "image_2"),
        prefix="JPEGImages/",
        needs_images=True,
    ),
    "objects365": _Layout(
        _plain(read_coco),
        (*_in_annotations("zhiyuan_objv2_val.json"), "val/zhiyuan_objv2_val.json"),
        ("val", "images/val"),
    ),
    "openimages": _Layout(
        _plain(read_openimages),
        (*_in_annotations("validation-annotations-bbox.csv"), "oidv6-validation-annotations-bbox.csv"),
        ("validation", "images/validation"),
        needs_images=True,
    ),
}
CONVERTED = tuple(_LAYOUTS)
"""The datasets that can be converted."""


def open_download(name: str, root: Path, *, datasets: Path, options: Options) -> Download:
    """Find the parts of a dataset of `CONVERTED` and start its converter.

    Args:
        name: Dataset of the catalogue.
        root: Folder of the download.
        datasets: The datasets folder, whose images are taken where the download has none.

    Raises:
        ConfigError: The dataset has no converter.
        DatasetNotFoundError: A part is missing; the message says where it was looked for.
        AnnotationError: A list of images or categories is of another form.
    """
    if name not in _LAYOUTS:
        raise ConfigError(f"name={name} is no dataset that can be converted; choose among {' '.join(CONVERTED)}")
    if not root.is_dir():
        raise DatasetNotFoundError(f"{root}: no such folder; give root=<folder of the download of {name}>")
    layout = _LAYOUTS[name]
    usual = (root / path for path in layout.annotations)
    annotations = options.annotations or next((path for path in usual if path.exists()), None)
    if annotations is None or not annotations.exists():
        sought = annotations or f"{root}/ with {' or '.join(layout.annotations)}"
        way_out = "give the root of the download, or annotations=<path>"
        raise DatasetNotFoundError(f"no annotations of {name}: looked for {sought}; {way_out}")
    images = _images(name, root, layout, datasets, options) if options.check_images or layout.needs_images else None
    source = Source(annotations, images, layout.prefix, options.marked or layout.marked)
    return Download(source, layout.read(source, options, root))


def _images(name: str, root: Path, layout: _Layout, datasets: Path, options: Options) -> Path:
    in_place = datasets / CATALOG[name].images / layout.prefix
    folders = [options.images] if options.images else [*(root / path for path in layout.images), in_place]
    if name == "lvis" and not options.images:  # the root of COCO, with a folder for each of its parts
        folders = [folder for folder in (root, *folders) if (folder / "val2017").is_dir()] or folders
    for folder in folders:
        if folder.is_dir():
            return folder
    without = "" if layout.needs_images else ", or trust the annotations by check_images=false"
    raise DatasetNotFoundError(
        f"no images of {name}: looked for the folder {' or '.join(map(str, folders))}; give images=<folder>{without}"
    )
