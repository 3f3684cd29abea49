"""Whether an index is of the present content of its file, by what the system says of the file, else by its digest.

Size and modification time are in the name of the index. Times of change and inodes differ where a file was copied,
moved or linked with its modification time kept, and also where it was replaced by another one: the digest, stored when
the index was built, tells which. It is computed by one process of a node; what it found is noted beside the index.
"""

from pathlib import Path
from typing import NamedTuple

from cutler_pl.coco.json_text import decode_json
from cutler_pl.runtime.files import file_digest, write_json
from cutler_pl.runtime.logging import get_logger

SOURCE_NAME = "source.json"
_MOST_NOTES = 100

_log = get_logger(__name__)


class FileState(NamedTuple):
    """What the system says of a file, in nanoseconds."""

    size: int
    modified: int
    changed: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """State of a file now."""
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    @property
    def name(self) -> str:
        """What an index of the file in this state is named by."""
        return f"{self.size:x}-{self.modified:x}"

    @property
    def note(self) -> list[int]:
        """What is noted of a file that has the content of an index."""
        return [self.changed, self.inode]


def record_source(folder: Path, digest: str, state: FileState) -> None:
    """Note beside a new index what it was built from."""
    write_json(folder / SOURCE_NAME, {"sha256": digest, "seen": [state.note]})


def is_noted(folder: Path, state: FileState) -> bool:
    """Whether an index is there and known to be of a file in this state."""
    return state.note in _read(folder)[1]


def has_same_content(folder: Path, path: Path, state: FileState) -> bool:
    """Whether an index is of the content of a file; notes it if so."""
    digest, seen = _read(folder)
    if not digest:
        return False
    _log.info("%s: copied or changed since its index was built; its digest tells which", path)
    if file_digest(path) != digest or FileState.of(path) != state:
        return False
    write_json(folder / SOURCE_NAME, {"sha256": digest, "seen": [*seen, state.note][-_MOST_NOTES:]})
    return True


def _read(folder: Path) -> tuple[str, list[list[int]]]:
    """Digest of the source, and what is noted; nothing where there is no such index, or a damaged note."""
    try:
        content = decode_json((folder / SOURCE_NAME).read_bytes())
        return str(content["sha256"]), list(content["seen"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "", []
