"""One run per output folder: a lock that the kernel gives back when its process dies, however it dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cutler_pl.errors import OutputLockedError

LOCK_NAME = ".lock"


@contextmanager
def exclusive(folder: str | Path, *, purpose: str) -> Iterator[None]:
    """Hold the only lock of a folder, which is made if need be; the lock file stays and means nothing by itself.

    Args:
        folder: Output folder.
        purpose: What the lock is for, such as "maskcut"; named in the error of whoever comes second.

    Raises:
        OutputLockedError: Another live process holds the lock.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_NAME).open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            owner = handle.read().strip() or "another process"
            raise OutputLockedError(
                f"{folder}: {owner} is writing there; wait for it or choose another output folder"
            ) from error
        handle.truncate(0)
        handle.write(f"{purpose} (process {os.getpid()})")
        handle.flush()
        yield
