"""A COCO file as memory-mapped arrays: built once, then shared by all loader processes.

As Python objects, a JSON file of 1.3 million images takes minutes and many gigabytes in each process. The index is
valid for one content of the file (`index_identity`): a changed file is indexed again.
"""

import errno
import json
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from cutler_pl.coco.confidence import ConfidenceMap, unpack
from cutler_pl.coco.file_names import NAMES_WAY_OUT, leads_out
from cutler_pl.coco.index_identity import FileState, has_same_content, is_noted, record_source
from cutler_pl.coco.index_writer import CHECK_NAMES, METADATA_FILE, write_index
from cutler_pl.coco.json_text import shown
from cutler_pl.coco.packed_masks import NO_MASK, decode_segmentation
from cutler_pl.coco.packed_strings import PackedStrings
from cutler_pl.coco.schema import Segmentation
from cutler_pl.errors import AnnotationError, CutlerError, DatasetNotFoundError, OutputLockedError, OutputWriteError
from cutler_pl.runtime.files import file_digest, is_file
from cutler_pl.runtime.locks import file_lock
from cutler_pl.runtime.logging import get_logger

_log = get_logger(__name__)

_BUILDING = ".building"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LONGEST_BUILD = 3600.0  # seconds
FORMAT = 4
"""Raised with the checks of the records, since an index is not checked again."""
_ARRAYS: dict[str, tuple[type[np.generic], str, tuple[int, ...]]] = {
    "image_ids": (np.int64, "images", ()), "sizes_hw": (np.int64, "images", (2,)),
    "names": (np.uint8, "characters", ()), "name_offsets": (np.int64, "images and end", ()),
    "object_offsets": (np.int64, "images and end", ()), "boxes_xywh": (np.float64, "objects", (4,)),
    "areas": (np.float64, "objects", ()), "category_ids": (np.int64, "objects", ()),
    "is_crowd": (np.bool_, "objects", ()), "scores": (np.float32, "objects", ()),
    "mask_kinds": (np.uint8, "objects", ()), "mask_bytes": (np.uint8, "bytes", ()),
    "mask_offsets": (np.int64, "objects and end", ()), "confidence_objects": (np.int64, "maps", ()),
    "confidence_bytes": (np.uint8, "bytes of maps", ()), "confidence_offsets": (np.int64, "maps and end", ()),
}  # fmt: skip
"""Type, first axis and further axes of each array."""
_OFFSETS = {
    "name_offsets": "names", "object_offsets": "areas", "mask_offsets": "mask_bytes",
    "confidence_offsets": "confidence_bytes",
}  # fmt: skip


@dataclass(frozen=True)
class Objects:
    """Annotations of one image, in the order of the file; masks are still encoded."""

    boxes_xywh: Float64[np.ndarray, "gt 4"]
    areas: Float64[np.ndarray, " gt"]
    category_ids: Int64[np.ndarray, " gt"]
    is_crowd: Bool[np.ndarray, " gt"]
    scores: Float32[np.ndarray, " gt"]
    """From 0 to 1; 1 where the file gives none."""
    segmentations: list[Segmentation | None]
    confidences: Mapping[int, ConfidenceMap] = field(default_factory=dict)
    """By position in this list; those without one count 1 everywhere."""


class InstanceIndex:
    """Read access to an index; images are numbered from 0 in the order of the JSON. Pickles as its path.

    Attributes:
        sizes_hw: Height and width of each image, swapped ones corrected.
        categories: COCO id to name, ascending.
        num_dropped: Number of annotations left out because their box or mask has no area.
    """

    def __init__(self, folder: Path) -> None:
        """Open a finished index; `open_index` finds or builds it.

        Raises:
            AnnotationError: The index is damaged.
        """
        self.folder = folder
        try:
            metadata = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
            self.categories: dict[int, str] = {int(id_): str(name) for id_, name in metadata["categories"]}
            self.num_dropped: int = int(metadata["num_dropped"])
            self._check_names: bool = metadata.get(CHECK_NAMES, False)
            arrays: dict[str, np.ndarray] = {
                name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
                for name in _ARRAYS
            }
            _check_arrays(arrays)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise AnnotationError(
                f"{folder}: damaged index of an annotation file ({error}); remove this folder, and it is built again"
            ) from error
        self.image_ids: Int64[np.ndarray, " images"] = arrays["image_ids"]
        self.sizes_hw: Int64[np.ndarray, "images 2"] = arrays["sizes_hw"]
        self.file_names = PackedStrings(arrays["names"], arrays["name_offsets"])
        self._objects = arrays

    def __len__(self) -> int:
        return len(self.image_ids)

    def __reduce__(self) -> tuple[type["InstanceIndex"], tuple[Path]]:
        return InstanceIndex, (self.folder,)

    def size_hw(self, image: int) -> tuple[int, int]:
        """Height and width of one image as annotated."""
        height, width = self.sizes_hw[image]
        return int(height), int(width)

    def objects(self, image: int) -> Objects:
        """Annotations of one image."""
        first, end = self._objects["object_offsets"][image : image + 2].tolist()
        names = ("boxes_xywh", "areas", "category_ids", "is_crowd", "scores")
        boxes_xywh, areas, category_ids, is_crowd, scores = (np.array(self._objects[n][first:end]) for n in names)
        segmentations = [self._segmentation(i, *self.size_hw(image)) for i in range(first, end)]
        confidences = {number - first: confidence for number, confidence in self._confidences(first, end)}
        return Objects(boxes_xywh, areas, category_ids, is_crowd, scores, segmentations, confidences)

    def check_names(self, images: str | Path, annotations: str | Path) -> None:
        """Make sure that all file names are below the image folder.

        Args:
            images: The folder.
            annotations: The indexed file, for messages.

        Raises:
            AnnotationError: A name leads out of the folder.
        """
        if not self._check_names:
            return
        for number, name in zip(self.image_ids, self.file_names, strict=True):
            if leads_out(images, name):
                raise AnnotationError(
                    f"{annotations}: image {number} has the file_name {shown(name)}, which leads out of the image "
                    f"folder {images}; {NAMES_WAY_OUT}"
                )

    def count_objects(self) -> Int64[np.ndarray, " images"]:
        """Number of annotations of each image, without crowd regions."""
        images = np.repeat(np.arange(len(self)), np.diff(self._objects["object_offsets"]))
        return np.bincount(images[~self._objects["is_crowd"]], minlength=len(self))

    def count_without_mask(self) -> int:
        """Number of annotations that have a box only, crowd regions not counted."""
        return int(np.sum((self._objects["mask_kinds"] == NO_MASK) & ~self._objects["is_crowd"]))

    def _confidences(self, first: int, end: int) -> Iterator[tuple[int, ConfidenceMap]]:
        """The maps of some annotations; a few have one."""
        objects, offsets = self._objects["confidence_objects"], self._objects["confidence_offsets"]
        for i in range(*np.searchsorted(objects, (first, end)).tolist()):
            yield int(objects[i]), unpack(self._objects["confidence_bytes"][offsets[i] : offsets[i + 1]].tobytes())

    def _segmentation(self, annotation: int, height: int, width: int) -> Segmentation | None:
        first, end = self._objects["mask_offsets"][annotation : annotation + 2]
        data = self._objects["mask_bytes"][first:end].tobytes()
        return decode_segmentation(int(self._objects["mask_kinds"][annotation]), data, height, width)


def _check_arrays(arrays: dict[str, np.ndarray]) -> None:
    """Raise a ValueError for arrays of another type or shape, or that contradict one another in length."""
    lengths = {"images": len(arrays["image_ids"]), "objects": len(arrays["areas"])}
    lengths["maps"] = len(arrays["confidence_objects"])
    lengths |= {f"{axis} and end": length + 1 for axis, length in lengths.items()}
    for name, (dtype, axis, rest) in _ARRAYS.items():
        array = arrays[name]
        if array.dtype != dtype or array.shape != (lengths.get(axis, len(array)), *rest):
            raise ValueError(f"{name} has {array.dtype} {array.shape}")
    for name, of in _OFFSETS.items():
        if int(arrays[name][0]) or int(arrays[name][-1]) != len(arrays[of]):
            raise ValueError(f"{name} and {of} contradict one another")


def open_index(annotations: str | Path, *, index_dir: str | Path | None = None) -> InstanceIndex:
    """Open the index of a COCO file; if there is none of its present state, one process builds it, others wait.

    Args:
        annotations: COCO JSON.
        index_dir: Folder for indices; None: beside the JSON, or the system's temporary folder where that is read-only.

    Raises:
        DatasetNotFoundError: There is no such file.
        AnnotationError: The file is not JSON, not COCO, or holds an invalid record.
    """
    path = Path(annotations)
    if not is_file(path):
        raise DatasetNotFoundError(f"no such annotation file: {annotations}")
    root = index_root(path, index_dir=index_dir)
    state = FileState.of(path)
    folder = root / f"v{FORMAT}-{state.name}"
    if not is_noted(folder, state):
        with _only_builder(path, root):
            state = FileState.of(path)
            folder = root / f"v{FORMAT}-{state.name}"
            if not is_noted(folder, state) and not has_same_content(folder, path, state):
                _build(path, folder, state)
    return InstanceIndex(folder)


@contextmanager
def _only_builder(path: Path, root: Path) -> Iterator[None]:
    """Hold the lock of a node, then that of the indices: where the file system has no locks, each node builds one."""
    with ExitStack() as held:
        for folder in (_temporary_folder() / _address(root), root):
            try:
                held.enter_context(file_lock(folder, purpose="index"))
            except OutputLockedError:
                _log.info("%s: another process builds or checks its index; this one waits", path)
                held.enter_context(file_lock(folder, purpose="index", timeout=math.inf))
        yield


def index_root(annotations: Path, *, index_dir: str | Path | None = None) -> Path:
    """Folder of the indices of a COCO file: never in the home folder unless the file or `index_dir` is."""
    if index_dir is None and _is_writable(annotations.resolve().parent):
        return annotations.resolve().parent / f".{annotations.name}.index"
    root = _temporary_folder() if index_dir is None else Path(index_dir)
    return root / f"{annotations.name}.{_address(annotations)}.index"


def _temporary_folder() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"  # the temporary folder of Windows belongs to one user
    return Path(tempfile.gettempdir()) / f"cutler_pl-{user}"


def _address(path: Path) -> str:
    return sha256(str(path.resolve()).encode(errors="surrogateescape")).hexdigest()[:12]


def _is_writable(folder: Path) -> bool:
    """Whether a folder is meant to be written to; root, who may write anywhere, keeps to the permission bits too."""
    return bool(folder.stat().st_mode & 0o222) and os.access(folder, os.W_OK)


def _build(path: Path, folder: Path, state: FileState) -> None:
    """Write the index under a temporary name, then rename it; the lock is held."""
    temporary = folder.with_name(f"{_BUILDING}-{platform.node()}")
    for outdated in folder.parent.iterdir():
        if outdated.is_dir() and (outdated == temporary or not _may_be_of_another_node(outdated)):
            shutil.rmtree(outdated)
    with _removed_on_errors(path, temporary):
        temporary.mkdir()
        write_index(path, temporary)
        record_source(temporary, file_digest(path), state)
    if FileState.of(path) != state:
        raise AnnotationError(f"{path}: changed while it was indexed; start again when it is complete")
    if folder.is_dir():  # of another node meanwhile, where the file system has no locks
        shutil.rmtree(temporary)
    else:
        temporary.replace(folder)


@contextmanager
def _removed_on_errors(path: Path, temporary: Path) -> Iterator[None]:
    """Of an index that is not finished nothing stays, neither of a refused file nor on a full disk."""
    try:
        yield
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, CutlerError) or not isinstance(error, OSError) or error.errno not in _FULL:
            raise
        raise OutputWriteError(
            f"{temporary.parent}: the index of {path.name} cannot be written ({error.strerror}); free space, "
            "or give another folder, for a training data.index_dir=<folder>"
        ) from error


def _may_be_of_another_node(folder: Path) -> bool:
    """Whether an index is perhaps just being built by another node, where the file system has no locks."""
    return folder.name.startswith(f"{_BUILDING}-") and time.time() - folder.stat().st_mtime < _LONGEST_BUILD
