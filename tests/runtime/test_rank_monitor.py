"""What the other processes of a run do when one has ended: end within seconds, by one sentence."""

import time
from pathlib import Path

import forked
import pytest

from cutler_pl.runtime import signals
from cutler_pl.runtime.rank_monitor import GOES_ON, LOST

RANK = Path(__file__).with_name("monitored_rank.py")
CONNECTED = "connected"


def end(tmp_path: Path, *, ranks: int, ending: int, how: str) -> tuple[list[int | None], list[str], float]:
    """Exit statuses, lines on standard error of all ranks, and seconds from the ending to the last one's end."""
    log = tmp_path / "log"
    arguments = [str(ranks), str(tmp_path / "store"), str(ending), how]
    processes = [forked.start(RANK, str(rank), *arguments, log=log) for rank in range(ranks)]
    lines: list[str] = []
    deadline = time.monotonic() + 240
    while lines.count(CONNECTED) < ranks and time.monotonic() < deadline:
        time.sleep(0.01)
        lines = log.read_text().splitlines() if log.exists() else []
    start = time.monotonic()
    statuses = forked.wait(processes, seconds=30)
    seconds = time.monotonic() - start
    lines = log.read_text().splitlines()
    assert lines.count(CONNECTED) == ranks, lines
    return statuses, [line for line in lines if line != CONNECTED], seconds


@pytest.mark.parametrize(
    ("ranks", "ending", "how"),
    [
        (3, 2, "killed in a barrier"),
        (2, 0, "killed while others work"),
        pytest.param(2, 1, "killed beside its child", marks=pytest.mark.slow),
        pytest.param(2, 1, "killed while others work", marks=pytest.mark.slow),
    ],
)
def test_killed_rank_ends_others(tmp_path: Path, ranks: int, ending: int, how: str) -> None:
    statuses, lines, seconds = end(tmp_path, ranks=ranks, ending=ending, how=how)
    assert statuses == [-9 if rank == ending else 1 for rank in range(ranks)]
    assert seconds < 10
    assert [line for line in lines if "error" in line] == [f"error: rank {ending} {LOST}, {GOES_ON}"]


@pytest.mark.slow
def test_common_error_is_said_by_itself(tmp_path: Path) -> None:
    """All ranks raise it, one after the other: none speaks of another."""
    statuses, lines, _ = end(tmp_path, ranks=2, ending=0, how="all fail")
    assert statuses == [1, 1]
    assert sorted(lines) == ["error: rank 0's own sentence", "error: rank 1's own sentence"]


def test_error_of_one_rank_ends_others(tmp_path: Path) -> None:
    statuses, lines, seconds = end(tmp_path, ranks=2, ending=1, how="fails alone")
    assert statuses == [1, 1]
    assert seconds < 10
    assert lines[0] == "error: rank 1's own sentence"
    assert len(lines) == 2
    assert lines[1].startswith("error: rank 1 ended with an error of its own, so")


@pytest.mark.parametrize("ending", [0, 2])
def test_signal_of_one_rank_ends_others(tmp_path: Path, ending: int) -> None:
    """As if all had got it, by one sentence."""
    statuses, lines, seconds = end(tmp_path, ranks=3, ending=ending, how="signalled")
    assert statuses == [143, 143, 143], lines
    assert seconds < 10
    assert lines == ([f"stopped by SIGTERM; {signals.GOES_ON}"] if ending else [])


def test_finished_ranks_are_not_lost(tmp_path: Path) -> None:
    statuses, lines, _ = end(tmp_path, ranks=3, ending=0, how="all finish")
    assert (statuses, lines) == ([0, 0, 0], [])
