"""Stages of a recipe as jobs of submitit, each after the one before it (`conf/launch/`)."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands.going_on import RECIPE
from cutler_pl.commands.recipe.stages import Stage
from cutler_pl.errors import ConfigError, StageFailedError
from cutler_pl.runtime import imports
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

_PROCESS = "cutler_pl.commands.recipe.job_process"
_OF_THE_EXECUTOR = ("cluster", "max_num_timeout")
_FLAGS = {"tasks_per_node": "ntasks_per_node", "timeout_min": "time", "mem_gb": "mem"}
_RESERVE_SECONDS = 30.0  # of the time between signal and end: for requeueing
_POLL_SECONDS = 0.2
_MAX_CHARACTERS = 400  # of what submitit or sbatch say


class StageJob:
    """What a job runs: one stage in a process of its own, so that a signal lets it save.

    submitit calls `checkpoint` in the handler of its signal, on the first task of the job; the ranks of a training end
    together.

    Args:
        words: Command and settings for this stage alone.
        recipe: The command line of the recipe, which sentences name as the way to go on.
        save_seconds: Longest time for saving.
    """

    def __init__(self, words: Sequence[str], *, recipe: str, save_seconds: float) -> None:
        self.words, self.recipe, self.save_seconds = list(words), recipe, save_seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Run the stage.

        Raises:
            StageFailedError: Its process, which has said why, has failed.
        """
        command = [sys.executable, "-m", "cutler_pl", *self.words]
        environment = {**os.environ, RECIPE: self.recipe}
        self._process = subprocess.Popen(command, env=environment, preexec_fn=_ignore_signal_of_submitit)
        try:  # without the lock of `Popen.wait`, which `checkpoint` would wait for
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        except BaseException:
            self._process.terminate()
            raise
        if code := self._process.wait():
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else "failed"
            raise StageFailedError(f"{self.words[-1].removeprefix('only=')} {how}; the lines above say why")

    def checkpoint(self) -> Any:
        """End the process, which saves, and return what a requeued job runs."""
        if self._process is not None:
            self._end(self._process.pid)
        submitit = imports.submitit(purpose="a job")
        again = StageJob(self.words, recipe=self.recipe, save_seconds=self.save_seconds)
        return submitit.helpers.DelayedSubmission(again)

    def _end(self, pid: int) -> None:
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + self.save_seconds
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)  # the stage goes on from its last checkpoint
                return
            time.sleep(_POLL_SECONDS)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": None}


def submit(launch: DictConfig, output: Path, jobs: Sequence[tuple[Stage, StageJob]]) -> None:
    """Submit the jobs of the unfinished stages; on this machine, run them.

    Raises:
        ConfigError: There is no scheduler, or it refuses a job.
        OptionalDependencyError: submitit is not installed.
        StageFailedError: A job on this machine has failed.
    """
    submitit = imports.submitit(purpose=f"launch={launch.cluster}")
    if launch.cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise ConfigError("launch=slurm: this machine has no sbatch; run it on a login node, or use launch=local")
    make = {"slurm": submitit.SlurmExecutor, "local": submitit.LocalExecutor}[launch.cluster]
    python = f"{shlex.quote(sys.executable)} -m {_PROCESS}"
    before: str | None = None
    for stage, job in jobs:
        executor = make(output / "jobs", max_num_timeout=launch.max_num_timeout, python=python)
        try:
            executor.update_parameters(**_parameters(launch, stage, before))
            submitted = executor.submit(job)
        except (submitit.core.utils.FailedJobError, ValueError) as error:
            raise ConfigError(f"launch={launch.cluster}, stage {stage.name}: {_one_line(error)}") from error
        before = str(submitted.job_id)
        log.info("%s: job %s, log in %s", stage.name, before, submitted.paths.stderr)
        if launch.cluster == "local":
            _finish(stage, submitted, submitit.core.utils)


def job_of(words: Sequence[str], launch: DictConfig) -> StageJob:
    """The job of a stage, inside `part_of_recipe`."""
    save_seconds = max(launch.signal_delay_s - _RESERVE_SECONDS, launch.signal_delay_s / 2)
    return StageJob(words, recipe=os.environ[RECIPE], save_seconds=save_seconds)


def _parameters(launch: DictConfig, stage: Stage, before: str | None) -> dict[str, Any]:
    given: Mapping[str, Any] = OmegaConf.to_container(launch, resolve=True)  # type: ignore[assignment]
    found = {name: value for name, value in given.items() if value is not None and name not in _OF_THE_EXECUTOR}
    if launch.cluster == "local":
        return {**found, "gpus_per_node": torch.cuda.device_count()}
    if stage.pipeline is None:
        found = {name: value for name, value in found.items() if name not in ("nodes", "gpus_per_node")}
        found["tasks_per_node"] = 1
    if "mem_gb" in found:
        found["mem_gb"] = f"{found['mem_gb']}GB"
    found = {_FLAGS.get(name, name): value for name, value in found.items()}
    found |= {"job_name": f"cutler_{stage.name}", "srun_args": ["--kill-on-bad-exit=1"]}
    return found if before is None else {**found, "dependency": f"afterok:{before}"}


def _finish(stage: Stage, job: Any, errors: Any) -> None:
    try:
        job.result()
    except (errors.FailedJobError, errors.UncompletedJobError) as error:
        raise StageFailedError(f"stage {stage.name}: its job {job.job_id} failed; see {job.paths.stderr}") from error
    except BaseException:
        job.cancel()
        raise


def _one_line(error: BaseException) -> str:
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())[:_MAX_CHARACTERS]


def _ignore_signal_of_submitit() -> None:
    """SLURM sends it to all processes of a job; this one is told by `checkpoint`."""
    name = f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"
    signal.signal(signal.Signals[name], signal.SIG_IGN)
