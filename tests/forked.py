"""Processes that run a script: forks of one that has imported the libraries already, which takes seconds each time.

The tests that are about the start of a process itself start `sys.executable`.
"""

import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["cutler_pl.models.detector", "cutler_pl.data", "cutler_pl.training.callbacks"])


def start(script: Path, *words: str, log: Path, environment: Mapping[str, str] = os.environ) -> BaseProcess:
    """Start a script as its own process would run it; what it prints is added to `log`."""
    arguments = ([str(script), *words], dict(environment), str(log))
    process = _CONTEXT.Process(target=_run, args=arguments)  # type: ignore[attr-defined]
    process.start()
    return process


def run_ranks(ranks: int, script: Path, *words: str, folder: Path) -> None:
    """Run a script in several processes with the environment of torchrun's; all must end well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = os.environ | {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1",
        "LOCAL_WORLD_SIZE": str(ranks), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "none",
    }  # fmt: skip
    logs = [folder / f"rank_{rank}.log" for rank in range(ranks)]
    started = [
        start(script, *words, log=log, environment=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, log in enumerate(logs)
    ]
    statuses = wait(started, seconds=240)
    assert statuses == [0] * ranks, "\n".join(log.read_text()[-4000:] for log in logs)


def wait(processes: Sequence[BaseProcess], *, seconds: float) -> list[int | None]:
    """Exit statuses, of signals below zero; none of a process that had to be ended after some seconds."""
    statuses = []
    for process in processes:
        process.join(seconds)
        statuses.append(process.exitcode)
        process.kill()
        process.join()
        process.close()
    return statuses


def _run(words: list[str], environment: dict[str, str], log: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(written, 1)
    os.dup2(written, 2)
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
