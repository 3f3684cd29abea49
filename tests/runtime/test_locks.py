import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cutler_pl.errors import OutputLockedError, OutputWriteError
from cutler_pl.runtime.locks import file_lock, output_lock

HOLD = """
import os, sys, time
from cutler_pl.runtime.locks import file_lock, output_lock
with file_lock(sys.argv[1], purpose="recipe"):
    if "fork" in sys.argv and os.fork() == 0:  # as the workers of a data loader are
        time.sleep(5)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def test_refuse_second_process_by_name(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(OutputLockedError, match=rf"recipe \(process {holder.pid}\)"),
            file_lock(tmp_path, purpose="x"),
        ):
            pass
        holder.kill()
    with file_lock(tmp_path, purpose="x"):
        assert (tmp_path / ".lock").read_text().startswith("x")


def test_lock_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with file_lock(tmp_path / "new", purpose="x"):
            assert (tmp_path / "new").is_dir()


def test_lock_dies_with_its_process(tmp_path: Path) -> None:
    """Forked workers that live on do not keep the lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path), "fork"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        holder.stdout.close()
    with file_lock(tmp_path, purpose="x", timeout=5.0):  # the worker may just be forking
        assert (tmp_path / ".lock").read_text().startswith("x")


def test_parts_exclude_whole_folder(tmp_path: Path) -> None:
    """Parts may be locked at the same time, but not together with the whole folder."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputLockedError), file_lock(tmp_path, purpose="part", part="1", timeout=0.3):
            pass
        holder.kill()
    share = HOLD.replace('"recipe"', '"recipe", part="0"')
    with subprocess.Popen([sys.executable, "-c", share, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with file_lock(tmp_path, purpose="part", part="1"):
            pass
        with pytest.raises(OutputLockedError), file_lock(tmp_path, purpose="merge"):
            pass
        holder.kill()


def test_process_cannot_lock_twice(tmp_path: Path) -> None:
    """A process that tries to lock a folder twice keeps its first lock."""
    with file_lock(tmp_path, purpose="x"):
        with pytest.raises(OutputLockedError, match="this very process"), file_lock(tmp_path, purpose="y"):
            pass
        probe = HOLD.replace("time.sleep(60)", "pass")
        failed = subprocess.run(
            [sys.executable, "-c", probe, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert "OutputLockedError" in failed.stderr


def test_waiting_process_inherits_lock(tmp_path: Path) -> None:
    """A waiting process gets the lock when the holder dies."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        killer = threading.Timer(0.3, holder.kill)
        killer.start()
        with file_lock(tmp_path, purpose="second", timeout=30.0):
            assert holder.poll() is not None
            assert (tmp_path / ".lock").read_text().startswith("second")


def test_file_is_locked_beside_it(tmp_path: Path) -> None:
    output = tmp_path / "new" / "model.onnx"
    with output_lock(output, purpose="export"):
        assert [path.name for path in output.parent.iterdir()] == [".model.onnx.lock"]
        with pytest.raises(OutputLockedError, match=r"model\.onnx: "), output_lock(output, purpose="export"):
            pass
        with output_lock(output.with_name("other.onnx"), purpose="export"):
            pass
    assert not list(output.parent.iterdir())


def test_dead_process_does_not_block(tmp_path: Path) -> None:
    """Its lock file stays and says nothing."""
    (tmp_path / ".lock").write_text("maskcut (process 1) on elsewhere")
    (tmp_path / ".a.onnx.lock").write_text("export (process 1) on elsewhere")
    with file_lock(tmp_path, purpose="x"), output_lock(tmp_path / "a.onnx", purpose="x"):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A refusal that names the way out, which works."""

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", fail)
    expected = f"{tmp_path}: this file system has no locks .*CUTLER_PL_LOCKS=off"
    with pytest.raises(OutputLockedError, match=expected), file_lock(tmp_path, purpose="x"):
        pass
    monkeypatch.setenv("CUTLER_PL_LOCKS", "off")
    with file_lock(tmp_path, purpose="x"), output_lock(tmp_path / "a", purpose="x"):
        pass


def test_place_that_holds_no_lock(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "out" / ".lock").mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "out"):
        with pytest.raises(OutputWriteError, match=str(folder)), file_lock(folder, purpose="x"):
            pass
