"""One run per output: a file lock that the system releases when its process dies.

`CUTLER_PL_LOCKS=off` does without, for network file systems that have no locks.
"""

import errno
import math
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cutler_pl.errors import OutputLockedError
from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.files import hidden_beside, make_folder, wrap_os_errors

LOCK_NAME = ".lock"
LOCKS_VARIABLE = "CUTLER_PL_LOCKS"

_POLL_SECONDS = 0.2
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
_BAD_PLACE = frozenset({errno.EISDIR, errno.ELOOP, errno.ENOTDIR})


@contextmanager
def file_lock(
    folder: str | Path,
    *,
    purpose: str,
    name: str = LOCK_NAME,
    part: str | None = None,
    timeout: float = 0.0,
    output: Path | None = None,
) -> Iterator[None]:
    """Hold the lock of a folder, which is created if needed; the lock file stays after release.

    Of a run that fails before it writes anything nothing stays, neither the lock file nor the folders made for it.

    Args:
        folder: Output folder.
        purpose: Command that holds the lock, such as "maskcut"; named in the error of the second process.
        name: Lock file.
        part: One part of the folder, such as a job of an array; others may be held at the same time, the folder not.
        timeout: Seconds to wait for the holder of the folder; `math.inf` waits without limit.
        output: What errors name; the folder by default.

    Raises:
        OutputLockedError: Another live process holds the lock, or the file system has no locks.
        OutputWriteError: The lock file cannot be written.
    """
    whole = Path(folder) / name
    output = output or Path(folder)
    created = [path for path in (whole.parent, *whole.parent.parents) if not path.exists()]
    make_folder(whole.parent, of=folder)
    with ExitStack() as held:
        if part is not None:  # the lock of the whole folder is held for the moment of entering only
            with _acquired(whole, output, purpose, timeout):
                held.enter_context(_acquired(whole.with_name(f"{name}-{part}"), output, purpose, 0.0))
        else:
            held.enter_context(_acquired(whole, output, purpose, timeout))
            for other in whole.parent.glob(f"{name}-*"):
                with _acquired(other, output, purpose, 0.0):
                    pass
        try:
            yield
        except BaseException:
            with suppress(OSError):
                if part is None and all(path == whole for path in whole.parent.iterdir()):
                    whole.unlink(missing_ok=True)  # `FileLock` looks whether the file that it has locked is still there
                for path in created:
                    path.rmdir()
            raise


def rank_zero_lock(folder: str | Path, *, purpose: str) -> AbstractContextManager[None]:
    """`file_lock` held by rank 0 for all processes of a run.

    Raises:
        OutputLockedError: Another run holds the lock.
    """
    return file_lock(folder, purpose=purpose) if global_rank() == 0 else nullcontext()


@contextmanager
def output_lock(file: str | Path, *, purpose: str) -> Iterator[None]:
    """`file_lock` for a command that writes a single file: by a hidden file beside it, which goes at the end.

    Raises:
        OutputLockedError: Another live process writes the same file.
        OutputWriteError: Nothing can be written there.
    """
    lock = hidden_beside(Path(file), "lock")
    with file_lock(lock.parent, purpose=purpose, name=lock.name, output=Path(file)):
        try:
            yield
        finally:
            with suppress(OSError):  # Windows keeps a file that is open
                lock.unlink()


@contextmanager
def _acquired(path: Path, output: Path, purpose: str, timeout: float) -> Iterator[None]:
    if os.environ.get(LOCKS_VARIABLE, "").lower() in ("off", "0"):
        yield
        return
    lock = FileLock(path, fallback_to_soft=False)
    this_process = f"(process {os.getpid()}) on {platform.node()}"
    try:
        with wrap_os_errors(path, also=_BAD_PLACE):
            lock.acquire(timeout=-1 if math.isinf(timeout) else timeout, poll_interval=_POLL_SECONDS)
    except Timeout as error:
        owner = _owner(path)
        if owner.endswith(this_process):
            owner = f"this very process, for {owner.removesuffix(this_process).strip()},"
        raise OutputLockedError(
            f"{output}: {owner} is writing there; wait for it or choose another output folder"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise OutputLockedError(
            f"{output}: this file system has no locks ({error.strerror}); make sure that no other run writes "
            f"there, then set {LOCKS_VARIABLE}=off in the environment"
        ) from error
    try:
        with suppress(OSError):  # Windows keeps others from the content of a locked file
            path.write_text(f"{purpose} {this_process}", encoding="utf-8")
        yield
    finally:
        lock.release()


def _owner(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8").strip() or "another process"
    return "another process"
