"""Stages as jobs of submitit: a stand-in for SLURM takes them, runs them, tells them to end and requeues them."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cutler_pl.commands.recipe.jobs import StageJob
from cutler_pl.runtime import imports

from .conftest import ROOT, Command, Outcome
from .cutler_recipe import words, write_data
from .slurm_stand_in import Slurm, signal_steps

STAGES = 8


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Slurm(tmp_path)


@pytest.fixture
def launch(command: Command, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command `recipe` with `launch=slurm`, where there is a SLURM."""

    def run(*settings: str) -> Outcome:
        with monkeypatch.context() as patch:
            patch.setenv("PATH", slurm.path)
            return command("scripts/recipe.py", *settings, "launch=slurm")

    return run


def test_each_stage_is_a_job_after_the_one_before(launch: Command, tmp_path: Path, slurm: Slurm) -> None:
    write_data(tmp_path)
    outcome = launch(*words(tmp_path), "launch.partition=gpu", "launch.gpus_per_node=2")
    assert outcome.code == 0, outcome.err
    flags = slurm.flags()
    assert len(flags) == STAGES
    waits = [{flag for flag in its if flag.startswith("dependency")} for its in flags]
    assert waits == [set(), *({f"dependency=afterok:{job}"} for job in range(1, STAGES))]
    every = {"signal=USR2@300", "requeue", "kill-on-invalid-dep=yes", "partition=gpu", "open-mode=append"}
    assert all(every <= its for its in flags)
    assert all({"gpus-per-node=2", "ntasks-per-node=2", "nodes=1", "time=2880"} <= its for its in flags[:-1])
    assert {"ntasks-per-node=1", "job-name=cutler_report"} <= flags[-1]
    assert not any(flag.startswith("gpus-per-node") for flag in flags[-1])
    assert "--kill-on-bad-exit=1" in (slurm.folder / "1.sh").read_text()
    assert "train_0: job 2" in outcome.err


def test_finished_stages_are_no_jobs(command: Command, launch: Command, tmp_path: Path, slurm: Slurm) -> None:
    write_data(tmp_path)
    outcome = command("scripts/recipe.py", *words(tmp_path), "only=masks_0")
    assert outcome.code == 0, outcome.err
    outcome = launch(*words(tmp_path))
    assert "7 of 8 stages are to do" in outcome.err
    assert len(slurm.flags()) == STAGES - 1
    assert not any(flag.startswith("dependency") for flag in slurm.flags()[0])


def test_refusal_of_the_scheduler_is_one_sentence(launch: Command, tmp_path: Path, slurm: Slurm) -> None:
    write_data(tmp_path)
    (slurm.bin / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: x' >&2; exit 1\n")
    outcome = launch(*words(tmp_path), "launch.partition=x")
    assert outcome.code == 1
    assert "error: launch=slurm, stage masks_0: " in outcome.err
    assert "invalid partition specified: x" in outcome.err
    assert "Traceback" not in outcome.err


def test_launch_without_sbatch_is_one_sentence(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    write_data(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = command("scripts/recipe.py", *words(tmp_path), "launch=slurm")
    assert (outcome.code, outcome.err.count("error: ")) == (1, 1)
    assert "this machine has no sbatch; run it on a login node, or use launch=local" in outcome.err


def test_launch_without_submitit_is_one_sentence(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(tmp_path)
    monkeypatch.setitem(sys.modules, "submitit", None)
    outcome = command("scripts/recipe.py", *words(tmp_path), "launch=slurm")
    assert (outcome.code, outcome.err.count("error: ")) == (1, 1)
    assert "launch=slurm needs the package 'submitit'" in outcome.err
    assert "pip install 'cutler_pl[slurm]'" in outcome.err


def wait_until(ready: Callable[[], object]) -> None:
    until = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_job_told_to_end_saves_and_is_requeued(command: Command, launch: Command, tmp_path: Path, slurm: Slurm) -> None:
    """SLURM signals all processes of a job; the requeued one goes on at the saved step."""
    write_data(tmp_path)
    assert command("scripts/recipe.py", *words(tmp_path, steps=40), "only=masks_0").code == 0
    outcome = launch(*words(tmp_path, steps=40))
    assert outcome.code == 0, outcome.err
    stage = tmp_path / "out" / "stages" / "2_train_0"
    job = slurm.start(1)
    wait_until((stage / "checkpoints" / "step_0000002.ckpt").exists)
    signal_steps(job, signal.SIGUSR2)
    assert job.wait(timeout=120) != 0
    assert slurm.asked() == "requeue 1\n"
    log = (tmp_path / "out" / "jobs" / "1_0_log.err").read_text()
    saved = log.partition("stopped by SIGTERM; step ")[2].partition(" is saved, go on by: ")[0]
    assert 2 <= int(saved) < 40
    assert '"begun"' in (stage / "stage.json").read_text()

    assert slurm.start(1).wait(timeout=120) == 0
    log = (tmp_path / "out" / "jobs" / "1_0_log.err").read_text()
    assert f"at step {saved}" in log
    assert '"finished"' in (stage / "stage.json").read_text()


@pytest.mark.slow
def test_local_job_saves_and_starts_again(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_data(tmp_path)
    settings = words(tmp_path, steps=40)
    assert command("scripts/recipe.py", *settings, "only=masks_0").code == 0
    submitit = imports.submitit(purpose="this test")
    python = f"{sys.executable} -m cutler_pl.commands.recipe.job_process"
    executor = submitit.LocalExecutor(tmp_path / "jobs", max_num_timeout=3, python=python)
    executor.update_parameters(timeout_min=10)
    job = executor.submit(StageJob(["recipe", *settings, "only=train_0"], recipe="cutler recipe", save_seconds=60.0))
    stage = tmp_path / "out" / "stages" / "2_train_0"
    wait_until((stage / "checkpoints" / "step_0000002.ckpt").exists)
    for task in Path(f"/proc/{job.job_id}/task/{job.job_id}/children").read_text().split():
        os.kill(int(task), signal.SIGUSR2)
    job.result()
    log = job.stderr() or ""
    assert "is saved, go on by: cutler recipe" in log
    assert "resumed from" in log
    assert '"finished"' in (stage / "stage.json").read_text()


def test_failed_stage_fails_its_job(tmp_path: Path) -> None:
    job = StageJob(["recipe", "recipe=none", "only=masks_0"], recipe="cutler recipe", save_seconds=1.0)
    with pytest.raises(Exception, match="masks_0 failed"):
        job()


def test_hydras_launcher_requeues_after_a_timeout() -> None:
    """As the original's; without the number, the launcher's own is 0."""
    options = yaml.safe_load((ROOT / "conf/hydra/launcher/slurm.yaml").read_text())
    assert options["max_num_timeout"] == 30
    assert options["signal_delay_s"] >= 60
