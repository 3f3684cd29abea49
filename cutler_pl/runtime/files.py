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

_CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM})
_BAD_PLACE = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL})
_LONG_NAME_BYTES = 200  # a file system has 255


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


def hidden_beside(path: Path, suffix: str) -> Path:
    """A path in the folder of a file, of a hidden name made from its name, which no file system finds too long."""
    name = path.name
    if len(os.fsencode(name)) > _LONG_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}.{suffix}")


def make_folder(folder: Path, *, of: str | Path) -> None:
    """Create the folder of an output, and those above it.

    Raises:
        OutputWriteError: It cannot be created; the sentence names the output.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputWriteError(f"{of}: lies below a file, as if that were a folder; choose another place") from error
    except OSError as error:
        raise OutputWriteError(f"{of}: cannot be written ({error.strerror}); choose another place") from error


@contextmanager
def wrap_os_errors(path: str | Path, *, also: frozenset[int] = frozenset()) -> Iterator[None]:
    """Convert the errors of a full or read-only disk into one that names the file and the way out.

    Args:
        path: The file that is written.
        also: Further error numbers of its place.

    Raises:
        OutputWriteError: There is no space or no permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _CANNOT_WRITE | also:
            raise
        way_out = "free space or choose another output folder, then run the same command again"
        raise OutputWriteError(f"{path}: cannot be written ({error.strerror}); {way_out}") from error


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it is renamed to `path`, on failure it is removed.

    Readers see the old file or the new one, never a part of either. Parent folders are created.

    Raises:
        OutputWriteError: There is no space or no permission, or the path is not one of a file.
    """
    path = Path(path)
    temporary = hidden_beside(path, f"{os.getpid()}.tmp")
    make_folder(path.parent, of=path)
    with wrap_os_errors(path):
        try:
            yield temporary
            with wrap_os_errors(path, also=_BAD_PLACE):
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
