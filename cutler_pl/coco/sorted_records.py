"""Records in the order of an integer key, in constant memory: sorted runs in temporary files, merged while read."""

import heapq
import marshal
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, cast

from cutler_pl.runtime.files import wrap_os_errors

_RUN_BYTES = 48 << 20
_ENTRY_BYTES = 250  # what Python adds to each entry
_HEADER = struct.Struct("<qqQ")

_Entry = tuple[int, int, bytes]


class SortedRecords:
    """Takes records of JSON's types in any order; gives them by key, those of one key in the order they came.

    The files have no name: the system removes them when the process ends, however it does.

    Args:
        folder: Where the temporary files lie; it is created.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._runs: list[BinaryIO] = []
        self._entries: list[_Entry] = []
        self._bytes = self._count = 0
        self._stack = ExitStack()

    def __len__(self) -> int:
        return self._count

    def add(self, key: int, record: Any) -> None:
        """Take a record.

        Raises:
            OutputWriteError: There is no space left.
        """
        data = marshal.dumps(record)
        self._entries.append((key, self._count, data))
        self._count += 1
        self._bytes += len(data) + _ENTRY_BYTES
        if self._bytes > _RUN_BYTES:
            self._write_run()

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Go through all records by key; not twice at a time."""
        return self._sorted(_read_run)

    def drain(self) -> Iterator[tuple[int, Any]]:
        """Go through all records by key, once: each run's disk space is free as soon as it is read to its end."""
        return self._sorted(_drain_run)

    def close(self) -> None:
        """Remove the files."""
        self._stack.close()
        self._runs.clear()
        self._entries.clear()

    def __enter__(self) -> "SortedRecords":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _sorted(self, read: Callable[[BinaryIO], Iterator[_Entry]]) -> Iterator[tuple[int, Any]]:
        self._entries.sort()
        for key, _, data in heapq.merge(*map(read, self._runs), self._entries):
            yield key, marshal.loads(data)

    def _write_run(self) -> None:
        self._entries.sort()
        with wrap_os_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            file = cast(BinaryIO, self._stack.enter_context(tempfile.TemporaryFile(dir=self._folder)))  # noqa: SIM115
            for key, number, data in self._entries:
                file.write(_HEADER.pack(key, number, len(data)))
                file.write(data)
            file.flush()
        self._runs.append(file)
        self._entries, self._bytes = [], 0


class Groups:
    """Records by key in groups of keys, asked for in ascending order.

    Args:
        records: What `SortedRecords` gives.
        size: Number of successive keys of a group: group g has the keys from g × size on.
    """

    def __init__(self, records: Iterable[tuple[int, Any]], size: int) -> None:
        self._groups = groupby(records, key=lambda entry: entry[0] // size)
        self._next = next(self._groups, None)

    def take(self, group: int) -> list[tuple[int, Any]]:
        """Keys and records of a group; none where no key lies in it."""
        if self._next is None or self._next[0] != group:
            return []
        found = list(self._next[1])
        self._next = next(self._groups, None)
        return found


def _read_run(file: BinaryIO) -> Iterator[_Entry]:
    file.seek(0)
    while header := file.read(_HEADER.size):
        key, number, length = _HEADER.unpack(header)
        yield key, number, file.read(length)


def _drain_run(file: BinaryIO) -> Iterator[_Entry]:
    yield from _read_run(file)
    file.close()
