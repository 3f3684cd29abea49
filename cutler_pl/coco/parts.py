"""Part files: every process appends JSON lines to a file of its own, one per image; a merge reads all in a fixed order.

The torn last line of a killed process is cut off before the next record is appended, and readers skip it: a run can be
killed at any moment and resumed. Merging seeks records by file offset, so that masks are not held in memory.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NotRequired, TypedDict

from cutler_pl.coco.bounds import Bounds
from cutler_pl.coco.file_names import name_error
from cutler_pl.coco.schema import Image, Instance, Result
from cutler_pl.coco.validation import (
    box_error,
    far_from_image,
    image_error,
    is_finite_number,
    is_id,
    is_mapping,
    mask_size_mismatch,
    segmentation_error,
)
from cutler_pl.errors import AnnotationError
from cutler_pl.runtime.files import wrap_os_errors

_READ_BACK = 1 << 16
_MAX_OPEN_FILES = 128

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class ShardRecord(TypedDict):
    """MaskCut's objects in one image, by its relative POSIX path `file`; rejected ones are counted per reason."""

    file: str
    height: NotRequired[int]
    width: NotRequired[int]
    annotations: NotRequired[list[Instance]]
    dropped: NotRequired[dict[str, int]]
    failure: NotRequired[str]


class ImageResults(TypedDict):
    """A detector's results for one image, which may be none; the key is `image_id`."""

    image_id: int
    height: int
    width: int
    results: list[Result]


def is_shard_record(record: dict[str, Any]) -> bool:
    """Whether a record is a well-formed `ShardRecord`."""
    name = record.get("file")
    if not isinstance(name, str) or not name or name_error(name):
        return False
    if "failure" in record:
        return isinstance(record["failure"], str)
    image: Any = {"id": 1, "file_name": name, "height": record.get("height"), "width": record.get("width")}
    found, dropped = record.get("annotations"), record.get("dropped", {})
    counted = is_mapping(dropped) and all(map(is_id, dropped.values()))
    if image_error(image) or not isinstance(found, list) or not counted:
        return False
    bounds = Bounds.current()
    return all(_is_instance(instance, image, bounds) for instance in found)


def is_image_results(record: dict[str, Any]) -> bool:
    """Whether a record has the fields of `ImageResults`; its results are not looked at."""
    numbers = all(is_id(record.get(key)) for key in ("image_id", "height", "width"))
    return numbers and isinstance(record.get("results"), list)


def _is_instance(instance: Any, image: Image, bounds: Bounds) -> bool:
    return (
        is_mapping(instance)
        and is_finite_number(instance.get("area"))
        and not (box_error(instance.get("bbox")) or segmentation_error(instance.get("segmentation")))
        and not (mask_size_mismatch(instance, image) or far_from_image(instance, image, bounds))
    )


class Place(NamedTuple):
    """Number of a record's part file, and its byte offset in it."""

    part: int
    offset: int


class PartWriter:
    """Appends records to one part file, for the only process that writes to it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with wrap_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
            self._cut_torn_line()

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Append records together: after a failure none of them is there.

        Raises:
            OutputWriteError: There is no space left; the file is as it was.
        """
        rest = memoryview("".join(_encode(record) + "\n" for record in records).encode("ascii"))
        size = self._file.seek(0, os.SEEK_END)
        with wrap_os_errors(self.path):
            try:
                while rest:
                    rest = rest[os.write(self._file.fileno(), rest) :]
            except OSError:
                self._file.truncate(size)
                raise

    def close(self) -> None:
        """Flush the file to disk and close it."""
        if not self._file.closed:
            with self._file, wrap_os_errors(self.path):
                os.fsync(self._file.fileno())

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _cut_torn_line(self) -> None:
        end = start = self._file.seek(0, os.SEEK_END)
        keep = 0
        while start > 0 and not keep:
            start, stop = max(0, start - _READ_BACK), start
            self._file.seek(start)
            newline = self._file.read(stop - start).rfind(b"\n")
            keep = start + newline + 1 if newline >= 0 else 0
        if keep < end:
            self._file.truncate(keep)


class PartFiles:
    """The records of several part files, identified by the value of `key`; of two the first counts.

    Args:
        paths: The files.
        key: Name of the identity, a string or an integer.
        is_valid: Whether a record is well formed.
    """

    def __init__(
        self, paths: Sequence[Path], *, key: str, is_valid: Callable[[dict[str, Any]], bool] = lambda record: True
    ) -> None:
        self.paths = paths
        self.key = key
        self.num_damaged = 0
        self._is_valid = is_valid

    def __iter__(self) -> Iterator[tuple[Place, dict[str, Any]]]:
        """Go through all records; `num_damaged` then counts the torn or damaged lines, which are skipped."""
        self.num_damaged = 0
        for part, path in enumerate(self.paths):
            offset = 0
            with path.open("rb") as file:
                for line in file:
                    record = self._parse(line)
                    if record is None or not self._is_valid(record):
                        self.num_damaged += 1
                    else:
                        yield Place(part, offset), record
                    offset += len(line)

    def index(self, accept: Callable[[dict[str, Any]], bool] = lambda record: True) -> dict[Any, Place]:
        """Place of the first record of each key that `accept` is true for, sorted by key."""
        places: dict[Any, Place] = {}
        for place, record in self:
            if accept(record):
                places.setdefault(record[self.key], place)
        return dict(sorted(places.items()))

    def read(self, places: Iterable[Place]) -> Iterator[dict[str, Any]]:
        """Records in the order of their places; few files are open at a time.

        Raises:
            AnnotationError: A file has changed since it was indexed.
        """
        opened: dict[int, BinaryIO] = {}
        with ExitStack() as stack:
            for place in places:
                if place.part not in opened:
                    if len(opened) == _MAX_OPEN_FILES:
                        stack.close()
                        opened.clear()
                    opened[place.part] = stack.enter_context(self.paths[place.part].open("rb"))
                opened[place.part].seek(place.offset)
                record = self._parse(opened[place.part].readline())
                if record is None:
                    raise AnnotationError(f"{self.paths[place.part]}: changed while it was merged; merge again")
                yield record

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        if not line.endswith(b"\n"):
            return None
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return record if isinstance(record, dict) and isinstance(record.get(self.key), str | int) else None
