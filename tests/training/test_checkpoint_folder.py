import os
import resource
import signal
import tempfile
from pathlib import Path

import pytest
import torch

from cutler_pl.errors import OutputWriteError
from cutler_pl.training.checkpoint_folder import AtomicCheckpointIO, CheckpointFolder


def test_checkpoint_is_written_beside_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever TMPDIR is, and onto the disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    AtomicCheckpointIO().save_checkpoint({"a": torch.ones(3)}, tmp_path / "c" / "x.ckpt")
    assert torch.equal(torch.load(tmp_path / "c" / "x.ckpt", weights_only=True)["a"], torch.ones(3))
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["x.ckpt"]
    assert len(synced) == 2


def test_full_disk_names_the_path_and_keeps_the_old(tmp_path: Path) -> None:
    io, path = AtomicCheckpointIO(), tmp_path / "x.ckpt"
    io.save_checkpoint({"a": torch.ones(3)}, path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OutputWriteError, match=r"x\.ckpt: the checkpoint cannot be written.*resume=auto"):
            io.save_checkpoint({"a": torch.ones(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.ckpt"]


def test_later_steps_are_set_aside(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (5, 10, 15):
        folder.at(step).write_text(str(step))
    folder.link_last(folder.at(15))
    (tmp_path / ".step_0000020.ckpt.123.tmp").write_text("rest of a killed process")
    folder.prepare(5)
    assert folder.newest_first() == [folder.at(5)]
    assert folder.last.read_text() == "5"
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "set_aside", "step_0000005.ckpt"}
    folder.prepare(2)
    assert folder.newest_first() == []
    assert not folder.last.is_symlink()


def test_copied_last_is_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    assert folder.newest_first() == []
    folder.last.write_text("copied")
    assert folder.newest_first() == [folder.last]
