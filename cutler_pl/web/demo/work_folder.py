"""The one folder that the page reads and writes: uploads and results, removed when they are old and at the end."""

import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cutler_pl.errors import InputError
from cutler_pl.web.uploads import UploadLimits, too_many_bytes


class WorkFolder:
    """A folder of files that come and go.

    Args:
        root: An existing folder, of which everything but `examples` may be removed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.examples = self.root / "examples"

    def new_result(self) -> Path:
        """An empty folder for the files of one answer, whose name cannot be guessed."""
        folder = self.root / "results" / secrets.token_urlsafe(16)
        folder.mkdir(parents=True)
        return folder

    def holds(self, path: str) -> bool:
        """Whether a path is that of a file inside, also after links and `..` are followed."""
        try:
            real = Path(path).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            return False
        return Path(path).is_absolute() and real.is_relative_to(self.root) and real.is_file()

    def read_upload(self, value: Any, limits: UploadLimits) -> bytes:
        """The content of the file that a field of the page names.

        Raises:
            InputError: It names none that was uploaded here: another path, an address, or a file removed by now.
            UploadError: The file has too many bytes.
        """
        path = value.get("path") if isinstance(value, dict) else None
        if not isinstance(path, str) or not self.holds(path):
            raise InputError("the field holds no image that was uploaded here, or it was removed since; upload it anew")
        if Path(path).stat().st_size > limits.max_bytes:
            raise too_many_bytes(limits)
        return Path(path).read_bytes()

    def size(self) -> int:
        """Bytes of all files inside."""
        total = 0
        for path in self.root.rglob("*"):
            with suppress(OSError):  # removed meanwhile
                total += path.stat().st_size
        return total

    def remove_old(self, seconds: float) -> None:
        """Remove files that nobody touched for so long, and empty folders; examples stay."""
        before = time.time() - seconds
        for path in sorted(self.root.rglob("*"), reverse=True):  # what is in a folder comes before it
            if path.is_relative_to(self.examples):
                continue
            with suppress(OSError):  # in use, or removed by somebody else
                if path.stat().st_mtime < before:
                    path.rmdir() if path.is_dir() else path.unlink()


@contextmanager
def work_folder(keep_seconds: float) -> Iterator[WorkFolder]:
    """A temporary folder that is cleared again and again, and removed on leaving."""
    root = Path(tempfile.mkdtemp(prefix="cutler-demo-"))
    folder, closing = WorkFolder(root), threading.Event()

    def clear() -> None:
        while not closing.wait(min(60.0, keep_seconds)):
            folder.remove_old(keep_seconds)

    thread = threading.Thread(target=clear, name="work folder", daemon=True)
    thread.start()
    try:
        yield folder
    finally:
        closing.set()
        thread.join()
        shutil.rmtree(root, ignore_errors=True)
