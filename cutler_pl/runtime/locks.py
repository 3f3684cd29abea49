"""One run per output folder: a lock that the kernel gives back when its process dies, however it dies.

POSIX record locks, because they belong to the process: with `flock` the workers that a data loader forks would keep
the folder locked for seconds after the run itself was killed.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cutler_pl.errors import OutputLockedError
from cutler_pl.runtime.logging import get_logger

LOCK_NAME = ".lock"

_POLL_SECONDS = 0.2
_NO_LOCKS_HERE = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
_held: set[Path] = set()  # record locks do not see a second use by the same process

log = get_logger(__name__)


@contextmanager
def exclusive(folder: str | Path, *, purpose: str, name: str = LOCK_NAME, timeout: float = 0.0) -> Iterator[None]:
    """Hold the only lock of a folder, which is made if need be; the lock file stays and means nothing by itself.

    Args:
        folder: Output folder.
        purpose: What the lock is for, such as "maskcut"; named in the error of whoever comes second.
        name: Lock file, for folders that are divided among several runs.
        timeout: Seconds to wait for a holder before the error; `math.inf` waits as long as it lives.

    Raises:
        OutputLockedError: Another live process holds the lock.
    """
    with _locked(Path(folder), name, fcntl.LOCK_EX, purpose=purpose, timeout=timeout):
        yield


@contextmanager
def shared(folder: str | Path, *, purpose: str, timeout: float = 60.0) -> Iterator[None]:
    """Hold a folder together with others of the same kind, such as the jobs of an array; nobody has it exclusively.

    Args:
        folder: Output folder.
        purpose: As for `exclusive`.
        timeout: Seconds to wait for a holder of the exclusive lock, such as the job that merges.

    Raises:
        OutputLockedError: Another live process holds the lock exclusively.
    """
    with _locked(Path(folder), LOCK_NAME, fcntl.LOCK_SH, purpose=purpose, timeout=timeout):
        yield


@contextmanager
def _locked(folder: Path, name: str, kind: int, *, purpose: str, timeout: float) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / name).resolve()
    if path in _held:
        raise OutputLockedError(f"{folder}: this very process is already writing there; choose another output folder")
    with path.open("a+", encoding="utf-8") as handle:
        deadline = time.monotonic() + timeout
        while not _try_lock(handle.fileno(), kind, path):
            if time.monotonic() >= deadline:
                handle.seek(0)
                owner = handle.read().strip() or "another process"
                raise OutputLockedError(
                    f"{folder}: {owner} is writing there; wait for it or choose another output folder"
                )
            time.sleep(_POLL_SECONDS)
        _held.add(path)
        try:
            handle.truncate(0)
            handle.write(f"{purpose} (process {os.getpid()}) on {os.uname().nodename}")
            handle.flush()
            yield
        finally:
            _held.discard(path)


def _try_lock(descriptor: int, kind: int, path: Path) -> bool:
    try:
        fcntl.lockf(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno not in _NO_LOCKS_HERE:
            raise
        log.warning("%s: this file system has no locks; see to it that only one run writes there", path.parent)
    return True
