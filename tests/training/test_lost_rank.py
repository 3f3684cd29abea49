"""A training of two processes of which one is killed: one sentence, within 10 seconds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from training_processes import images_of_one_size

from cutler_pl.runtime.rank_monitor import GOES_ON, LOST

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes of a run in Linux's /proc"),
]


@contextmanager
def training(data: Path, folder: Path, *launcher: str) -> Iterator[tuple["subprocess.Popen[bytes]", int, Path]]:
    """A training of two processes: the first, the number of the second, and what they write to standard error."""
    images, annotations = images_of_one_size(data, folder)
    command = [
        sys.executable, *launcher, "train.py", "experiment=quickstart", "trainer=ddp_cpu", "callbacks.progress=null",
        f"data.images='{images}'", f"data.annotations='{annotations}'", "data.num_workers=1", "trainer.max_steps=5000",
        "data.batch_size=4", "trainer.log_every_n_steps=1", f"paths.output_dir='{folder / 'run'}'",
    ]  # fmt: skip
    log = folder / "stderr"
    with log.open("wb") as error:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PROJECT_ROOT": str(ROOT)}
        first = subprocess.Popen(command, stderr=error, stdout=error, cwd=ROOT, env=environment)
    try:
        wait_for(lambda: bool(started_by(first.pid)), first, log)
        yield first, started_by(first.pid)[0], log
    finally:
        for pid in started_by(first.pid):
            os.kill(pid, signal.SIGKILL)
        first.kill()
        first.wait()


def started_by(pid: int) -> list[int]:
    """Second processes of a run that the main thread of a process has started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split() if is_rank(1, int(child))] if path.exists() else []


def is_rank(rank: int, pid: int) -> bool:
    try:
        return f"LOCAL_RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("trained", [True, False], ids=["while it trains", "while it starts"])
def test_killed_second_process(data_dir: Path, tmp_path: Path, trained: bool) -> None:
    with training(data_dir, tmp_path) as (first, second, log):
        if trained:
            wait_for(lambda: any(tmp_path.glob("run/**/metrics.csv")), first, log)
        os.kill(second, signal.SIGKILL)
        start = time.monotonic()
        assert first.wait(timeout=60) == 1, log.read_text()[-3000:]
        assert time.monotonic() - start < 10
        assert sentences(log) == [f"error: rank 1 {LOST}, {GOES_ON}"]


@pytest.mark.parametrize("trained", [True, False], ids=["while it trains", "while it starts"])
def test_killed_first_process(data_dir: Path, tmp_path: Path, trained: bool) -> None:
    with training(data_dir, tmp_path) as (first, second, log):
        if trained:
            wait_for(lambda: any(tmp_path.glob("run/**/metrics.csv")), first, log)
        else:
            time.sleep(10)
        first.kill()
        first.wait()
        start = time.monotonic()
        while is_alive(second):
            assert time.monotonic() - start < 10, log.read_text()[-3000:]
            time.sleep(0.2)
        assert sentences(log) == [f"error: rank 0 {LOST}, {GOES_ON}"]


@pytest.mark.parametrize("rank", [0, 1])
def test_killed_process_under_torchrun(data_dir: Path, tmp_path: Path, rank: int) -> None:
    """Which ends the others by a signal, and adds a report of its own."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    with training(data_dir, tmp_path, *launcher) as (first, _, log):
        wait_for(lambda: any(tmp_path.glob("run/**/metrics.csv")), first, log)
        started = map(int, Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split())
        (pid,) = (pid for pid in started if is_rank(rank, pid))
        os.kill(pid, signal.SIGKILL)
        start = time.monotonic()
        assert first.wait(timeout=60) == 1, log.read_text()[-3000:]
        assert time.monotonic() - start < 10
        assert sentences(log) == [f"error: rank {rank} {LOST}, {GOES_ON}"]


def sentences(log: Path) -> list[str]:
    """What the processes say at their end; a loader process of a killed one may print how it was cut off."""
    return [line for line in log.read_text().splitlines() if line.startswith("error")]
