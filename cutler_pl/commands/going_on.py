"""How a run that a signal has ended goes on: by a command of the user, or by SLURM."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cutler_pl.commands.overrides import format_overrides
from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.run_id import slurm_job
from cutler_pl.runtime.signals import StoppedBySignal

log = get_logger(__name__)

RECIPE = "CUTLER_RECIPE"
"""Environment variable with the command line of the recipe that this process runs a stage of."""

_CHANGED = ("resume=", "paths.output_dir=")


@contextmanager
def part_of_recipe() -> Iterator[None]:
    """Inside, this process and those it starts run stages of the recipe of its command line."""
    if RECIPE in os.environ:
        yield
        return
    os.environ[RECIPE] = shlex.join([*_program(), *sys.argv[1:]])
    try:
        yield
    finally:
        del os.environ[RECIPE]


def command_to_go_on(output: Path) -> str:
    """The command of this process with `resume=auto` in its output folder; in a stage, that of the recipe."""
    if RECIPE in os.environ:
        return os.environ[RECIPE]
    words = [word for word in sys.argv[1:] if not word.startswith(_CHANGED)]
    return shlex.join([*_program(), *words, *format_overrides({"paths.output_dir": str(output), "resume": "auto"})])


def _program() -> list[str]:
    script = Path(sys.argv[0])
    return ["python", str(script)] if script.suffix == ".py" else [script.name]


def requeued(stop: StoppedBySignal) -> StoppedBySignal:
    """In a SLURM job that SIGUSR1 has ended: ask SLURM to run it again, on rank 0; exit status 0 if it agrees.

    A stage leaves that to its recipe.
    """
    job = slurm_job()
    if job is None or stop.signum.name != "SIGUSR1" or RECIPE in os.environ:
        return stop
    if global_rank() > 0:
        return StoppedBySignal(stop.signum, stop.rest, code=0)  # rank 0 says how it went
    try:
        asked = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        refusal = asked.stderr.strip() or asked.stdout.strip() if asked.returncode else None
    except OSError as error:
        refusal = str(error)
    if refusal is not None:
        log.warning("SLURM does not run job %s again (%s)", job, refusal)
        return stop
    return StoppedBySignal(stop.signum, f"SLURM runs job {job} again, where {stop.rest}", code=0)
