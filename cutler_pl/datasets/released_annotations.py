"""The annotation files that CutLER's authors released, by dataset of the catalogue. They published no checksums."""

import shutil
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cutler_pl.coco.stream import read_records
from cutler_pl.datasets.catalog import CATALOG, SEMI_PERCENTS
from cutler_pl.errors import AnnotationError, ConfigError
from cutler_pl.runtime.download import fetch_file
from cutler_pl.runtime.files import atomic_write
from cutler_pl.runtime.limits import UNPACKED_BYTES

SPLITS_ARCHIVE = "coco/annotations/coco-smi_annotations.zip"
"""Archive of the K % files, below the datasets folder."""

_SPLITS_ADDRESS = "coco-smi/annotations.zip"
_FOLDERS = {
    "coco": "coco", "coco20k": "coco", "lvis": "coco", "voc": "voc", "objects365": "objects365",
    "openimages": "openImages", "uvo": "uvo", "kitti": "kitti", "watercolor": "watercolor", "comic": "comic",
    "clipart": "clipart", "imagenet_maskcut": "maskcut", "imagenet_r1": "maskcut", "imagenet_r2": "maskcut",
}  # fmt: skip
RELEASED: dict[str, str] = {
    **{name: f"{folder}/{PurePosixPath(CATALOG[name].annotations).name}" for name, folder in _FOLDERS.items()},
    **{f"coco_semi_{percent}": _SPLITS_ADDRESS for percent in SEMI_PERCENTS},
}
"""Address below the mirror by dataset."""


class Counts(NamedTuple):
    """What is in a COCO file."""

    images: int
    annotations: int
    categories: int


# zipfile raises RuntimeError for an encrypted member, and a subclass of it for an unknown compression method.
_UNPACKING_ERRORS = (zipfile.BadZipFile, RuntimeError, zlib.error, EOFError)


def fetch_released(name: str, datasets: Path, *, mirror: str) -> tuple[Path, Counts]:
    """Fetch a dataset's released annotation file below `mirror`; check an existing one by its recorded SHA-256.

    Returns:
        The file and its counts.

    Raises:
        ConfigError: No file was released for this dataset.
        DownloadError: The file cannot be had, or is not what it was at first.
        AnnotationError: It is not COCO.
    """
    if name not in RELEASED:
        raise ConfigError(f"no file was released for name={name}; there are {' '.join(RELEASED)}")
    address, path = f"{mirror.rstrip('/')}/{RELEASED[name]}", datasets / CATALOG[name].annotations
    if RELEASED[name] == _SPLITS_ADDRESS and not path.is_file():
        archive = datasets / SPLITS_ARCHIVE
        fetch_file(address, archive, check=lambda file: _check_archive(file, address))
        extract_member(archive, path)
    fetch_file(address, path, check=lambda file: _check(file, address))
    return path, count_records(path)


def count_records(path: Path) -> Counts:
    """Count the records of a COCO file of any size; raises as `read_records`."""
    found = Counter(key for key, _ in read_records(path))
    return Counts(found["images"], found["annotations"], found["categories"])


def extract_member(archive: Path, path: Path) -> None:
    """Extract the member with the name of `path` from any folder of an archive.

    Raises:
        AnnotationError: The archive is no zip file, or has no such file or a damaged one.
    """
    try:
        with zipfile.ZipFile(archive) as files:
            members = [info for info in files.infolist() if PurePosixPath(info.filename).name == path.name]
            if not members:
                raise AnnotationError(f"{archive}: holds no {path.name}; delete the archive to fetch it again")
            size, limit = members[0].file_size, UNPACKED_BYTES.value()
            if size > limit:  # zipfile never unpacks more than it announces
                raise AnnotationError(
                    f"{archive}: {path.name} has {size:,} bytes unpacked, over the limit of {limit:,}; delete the "
                    f"archive to fetch it again, or {UNPACKED_BYTES.way_out(size)}"
                )
            with files.open(members[0]) as source, atomic_write(path) as temporary, temporary.open("wb") as target:
                shutil.copyfileobj(source, target)
    except _UNPACKING_ERRORS as error:
        raise AnnotationError(
            f"{archive}: cannot be unpacked ({error}); delete the archive to fetch it again"
        ) from error


def _check(file: Path, address: str) -> None:
    try:
        count_records(file)
    except AnnotationError as error:
        raise AnnotationError(f"what {address} sent is no annotation file: {error}") from error


def _check_archive(file: Path, address: str) -> None:
    if not zipfile.is_zipfile(file):
        raise AnnotationError(f"{file}: what {address} sent is no zip archive; run the same command again later")
