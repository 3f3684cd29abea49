"""Write K % files of a COCO file, or copy the released ones, and print their counts."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from cutler_pl.coco.stream import read_records
from cutler_pl.coco.validation import image_error
from cutler_pl.commands.console import print_table
from cutler_pl.datasets.catalog import CATALOG
from cutler_pl.datasets.released_annotations import extract_member
from cutler_pl.datasets.splits import draw_images, listed_images, read_images, write_splits
from cutler_pl.errors import AnnotationError, ConfigError, DatasetNotFoundError
from cutler_pl.reports.tables import Table
from cutler_pl.runtime.files import atomic_write
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)


def run(cfg: DictConfig) -> list[Path]:
    """Make splits as `conf/make_coco_splits.yaml` describes; returns the files in the order of `percents`.

    Raises:
        ConfigError: Settings contradict one another, or a file exists.
        DatasetNotFoundError: A file is missing.
        AnnotationError: A file has another format.
    """
    _check(cfg)
    whole = CATALOG["coco_100"].annotations
    source = Path(cfg.annotations) if cfg.annotations else Path(cfg.paths.datasets) / whole
    folder = Path(cfg.output) if cfg.output else (Path(cfg.paths.datasets) / whole).parent
    files = {float(percent): folder / f"{percent:g}perc_{source.name}" for percent in cfg.percents}
    released = Path(cfg.released) if cfg.released else None
    existing = [path for path in files.values() if path.exists()]
    if not cfg.overwrite and existing and folder != released:
        raise ConfigError(
            f"{existing[0]}: the file exists; give another output=<folder>, or replace it by overwrite=true"
        )
    if released is not None:
        chosen, annotations = _copy_released(released, files)
    else:
        images = read_images(source)
        if cfg.lists:
            chosen = {share: listed_images(Path(cfg.lists), share, seed=cfg.seed, images=images) for share in files}
        else:
            chosen = {share: draw_images(images.ids, share, seed=cfg.seed, nested=cfg.nested) for share in files}
        annotations = write_splits(source, {files[percent]: chosen[percent] for percent in files}, images.header)
    _print_splits(files, chosen, annotations)
    return list(files.values())


def _check(cfg: DictConfig) -> None:
    if cfg.lists and cfg.released:
        raise ConfigError("lists= and released= both say which images are taken; give one of them")


def _copy_released(released: Path, files: Mapping[float, Path]) -> tuple[dict[float, frozenset[int]], dict[Path, int]]:
    """Copy the released files from their archive or folder; image ids and annotation counts of each."""
    chosen: dict[float, frozenset[int]] = {}
    annotations: dict[Path, int] = {}
    for percent, path in files.items():
        _copy(released, path)
        ids: set[int] = set()
        annotations[path] = 0
        for key, record in read_records(path):
            if key == "images":
                if error := image_error(record):
                    raise AnnotationError(f"{path}: {error}; download it again")
                ids.add(record["id"])
            annotations[path] += key == "annotations"
        chosen[percent] = frozenset(ids)
    return chosen, annotations


def _copy(released: Path, path: Path) -> None:
    if not released.exists():
        raise DatasetNotFoundError(f"{released}: no such file or folder; give released=<annotations.zip or its folder>")
    if released.is_file():
        extract_member(released, path)
        return
    source = released / path.name
    if not source.is_file():
        raise DatasetNotFoundError(f"{source}: no such file; choose others by 'percents=[…]', or another released=")
    if source.resolve() != path.resolve():
        with atomic_write(path) as temporary:
            shutil.copyfile(source, temporary)


def _print_splits(
    files: Mapping[float, Path], chosen: Mapping[float, frozenset[int]], annotations: Mapping[Path, int]
) -> None:
    rows = []
    for percent, path in sorted(files.items()):
        larger = min((other for other in files if other > percent), default=None)
        ids = chosen[percent]
        shared = "–" if larger is None else f"{len(ids & chosen[larger]) / max(1, len(ids)):.0%}"
        rows.append([f"{percent:g} %", f"{len(ids):,}", f"{annotations[path]:,}", shared, str(path)])
    print_table(Table(["share", "images", "annotations", "shared with the next larger", "file"], rows))
