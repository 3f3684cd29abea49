"""Atomic writes: a file is written under a temporary name in its folder, then renamed."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cutler_pl.errors import OutputWriteError

_CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; false, too, for a name that no file can have, such as one that is too long."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file of any size, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def wrap_os_errors(path: str | Path) -> Iterator[None]:
    """Convert the errors of a full or read-only disk into one that names the file and the way out.

    Raises:
        OutputWriteError: There is no space or no permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        way_out = "free space or choose another output folder, then run the same command again"
        raise OutputWriteError(f"{path}: cannot be written ({error.strerror}); {way_out}") from error


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it is renamed to `path`, on failure it is removed.

    Readers see the old file or the new one, never a part of either. Parent folders are created.

    Raises:
        OutputWriteError: There is no space or no permission.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with wrap_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically, UTF-8; file names that are not UTF-8 keep their bytes."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a binary file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | Path, value: Any, *, indent: int | None = None) -> None:
    """Write a JSON file atomically; the same value gives the same bytes. NaN is refused, as JSON has none.

    Raises:
        ValueError: The value holds NaN or infinity.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    write_text(path, json.dumps(value, indent=indent, separators=separators, allow_nan=False) + "\n")
