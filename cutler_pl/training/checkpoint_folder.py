"""The checkpoints of a run: written whole, found newest first, those that a resumed run leaves behind set aside.

`torch.save` stores the CRC-32 of each part of a file, which is checked before a training goes on from it.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from cutler_pl.errors import OutputWriteError
from cutler_pl.runtime.files import atomic_write, write_text
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

LAST = "last.ckpt"
SET_ASIDE = "set_aside"
VALIDATED, LOGGED = "validated", "logged"
"""What a checkpoint is followed by: its validation, the metrics of its step."""
_NAME = re.compile(r"step_(\d+)\.ckpt")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, onto the disk, and renames it; Lightning's own goes through `TMPDIR`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a file that is whole or not there.

        Raises:
            OutputWriteError: The disk is full or read-only.
        """
        with atomic_write(path) as temporary:
            try:
                with temporary.open("wb") as file:
                    torch.save(checkpoint, file)
                    file.flush()
                    os.fsync(file.fileno())
            except (OSError, RuntimeError) as error:  # torch's writer hides the error of the file
                reason = error if isinstance(error, OSError) else error.__context__
                if not isinstance(reason, OSError):
                    raise
                raise OutputWriteError(
                    f"{path}: the checkpoint cannot be written ({reason.strerror}), and those before it are whole; "
                    "free space, then go on from the newest by resume=auto"
                ) from error
        sync_folder(Path(path).parent)


class CheckpointFolder:
    """Checkpoints `step_<number>.ckpt` of one run, and the link `last.ckpt` to the newest."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def last(self) -> Path:
        """The link to the newest checkpoint."""
        return self.path / LAST

    def at(self, step: int) -> Path:
        """The checkpoint of a step."""
        return self.path / f"step_{step:07d}.ckpt"

    def newest_first(self) -> list[Path]:
        """All checkpoints; `last.ckpt` among them only where it is a file of its own, as after a copy."""
        steps = sorted(self._steps(), key=step_of, reverse=True)
        return [*([self.last] if self.last.is_file() and not self.last.is_symlink() else []), *steps]

    def link_last(self, to: Path) -> None:
        """Point `last.ckpt` to a checkpoint."""
        link = self.path / f".{LAST}.tmp"
        link.unlink(missing_ok=True)
        link.symlink_to(to.name)
        link.replace(self.last)
        sync_folder(self.path)

    def noted(self, event: str) -> int | None:
        """The step of which an event was noted last; None where it never was."""
        try:
            return int((self.path / f"{event}_step.txt").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def note(self, event: str, step: int) -> None:
        """Note that something of a step is done, such as its validation."""
        write_text(self.path / f"{event}_step.txt", f"{step}\n")

    def remove_old(self, *, keep: int, newest: Path) -> None:
        """Delete all checkpoints but the newest `keep`."""
        older = [path for path in self.newest_first() if path not in (newest, self.last)]
        for path in older[keep - 1 :]:
            path.unlink()

    def prepare(self, step: int) -> None:
        """Before a training goes on at a step: set later checkpoints aside, remove what killed processes left."""
        if not self.path.is_dir():
            return
        for rest in self.path.glob(".*.ckpt.*tmp"):
            rest.unlink(missing_ok=True)
        later = [path for path in self._steps() if step_of(path) > step]
        if later:
            aside = self.path / SET_ASIDE
            aside.mkdir(exist_ok=True)
            for path in later:
                path.replace(aside / path.name)
            log.info("%d checkpoints of later steps than %d are set aside in %s", len(later), step, aside)
        if self.at(step).is_file():
            self.link_last(self.at(step))
        elif not self.last.exists():
            self.last.unlink(missing_ok=True)

    def _steps(self) -> Iterator[Path]:
        if self.path.is_dir():
            yield from (path for path in self.path.iterdir() if _NAME.fullmatch(path.name))


def step_of(path: Path) -> int:
    """The step in the name of a checkpoint; -1 without one."""
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else -1


def sync_folder(folder: Path) -> None:
    """Have the names of a folder on the disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
