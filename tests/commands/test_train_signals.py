"""Trainings as processes: signals, kills, a stand-in for SLURM, two ranks; each goes on to the same weights."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.runtime.locks import file_lock
from tests.commands.test_train_resume import SMALL

ROOT = Path(__file__).resolve().parents[2]
STEPS = 12
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes, and an uninterrupted run over them."""
    folder = tmp_path_factory.mktemp("signals")
    write_scenes(folder / "set" / "images", 6, SceneParams(height=48, width=64), seed=0)
    run = start(folder, "whole")
    _, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    return folder


def start(folder: Path, name: str, *settings: str, **variables: str) -> "subprocess.Popen[str]":
    """A training with loader processes, precise batch normalisation and validation, a group of processes of its own."""
    data = [f"images={folder}/set/images", f"annotations={folder}/set/annotations.json"]
    words = [
        *SMALL, *(f"data.{word}" for word in data), "data/validation=folder", "data.num_workers=2",
        *(f"data.validation.{word}" for word in data), f"paths.output_dir={folder}/{name}",
        f"trainer.max_steps={STEPS}", "trainer.val_check_interval=4", "callbacks=default",
        "callbacks.precise_bn.num_batches=2", "callbacks.checkpoint.every_n_steps=3", "callbacks.visual_samples=null",
        "callbacks.checkpoint.save_top_k=null", *settings,
    ]  # fmt: skip
    words.remove("callbacks.precise_bn=null")
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables},
        start_new_session=True,
    )  # fmt: skip


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)


def steps(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step_")) for path in folder.glob("checkpoints/step_*.ckpt"))


def load(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return content


def rows(folder: Path) -> dict[int, dict[str, str]]:
    """Logged values by step, of the last run that logged it; without those that measure time."""
    found: dict[int, dict[str, str]] = {}
    for path in sorted(folder.glob("logs/version_*/metrics.csv")):
        for row in csv.DictReader(path.read_text().splitlines()):
            timed = ("train/images_per_s", "train/data_wait")
            values = {name: value for name, value in row.items() if value and name not in timed}
            found.setdefault(int(row["step"]), {}).update(values)
    return found


def assert_as_uninterrupted(folder: Path, name: str) -> None:
    whole, other = load(folder / "whole"), load(folder / name)
    assert whole["global_step"] == other["global_step"] == STEPS
    assert all(torch.equal(value, other["state_dict"][key]) for key, value in whole["state_dict"].items())
    states = [c["optimizer_states"][0]["state"] for c in (whole, other)]
    assert all(torch.equal(states[0][i]["momentum_buffer"], states[1][i]["momentum_buffer"]) for i in states[0])
    assert rows(folder / "whole") == rows(folder / name)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1], ids=lambda s: s.name)
@pytest.mark.parametrize("whole_group", [False, True], ids=["main process", "all processes"])
def test_signal_saves_and_goes_on(folder: Path, signum: signal.Signals, whole_group: bool) -> None:
    name = f"{signum.name}_{whole_group}"
    run = start(folder, name)
    wait_for(folder / name / "checkpoints" / "step_0000003.ckpt", run)
    (os.killpg if whole_group else os.kill)(run.pid, signum)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 128 + signum, err
    assert "Traceback" not in err
    assert f"stopped by {signum.name}; step {steps(folder / name)[-1]} is saved, go on by: python " in err
    assert err.rstrip().endswith(f"paths.output_dir={folder}/{name} resume=auto")
    again = start(folder, name, "resume=auto")
    _, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert_as_uninterrupted(folder, name)


def test_kills_at_any_moment_change_nothing(folder: Path) -> None:
    """Among them kills within a validation and within writing."""
    for delay in (0.0, 0.3, 0.8, 1.3, 2.0):
        run = start(folder, "killed", "resume=auto")
        done = len(steps(folder / "killed"))
        until = time.monotonic() + 120
        while len(steps(folder / "killed")) == done and run.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(delay)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
    run = start(folder, "killed", "resume=auto")
    _, err = run.communicate(timeout=240)
    assert run.returncode == 0, err
    assert_as_uninterrupted(folder, "killed")
    assert not list((folder / "killed" / "checkpoints").glob(".*tmp"))


@pytest.mark.parametrize("accepted", [True, False], ids=["accepted", "refused"])
def test_slurm_job_is_requeued(folder: Path, tmp_path: Path, accepted: bool) -> None:
    name = f"slurm_{accepted}"
    (tmp_path / "bin").mkdir()
    scontrol = tmp_path / "bin" / "scontrol"
    answer = "exit 0" if accepted else "echo no >&2; exit 1"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{answer}\n')
    scontrol.chmod(0o755)
    slurm = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "cutler",
        "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
    }  # fmt: skip
    run = start(folder, name, "resume=auto", **slurm)
    wait_for(folder / name / "checkpoints" / "step_0000003.ckpt", run)
    os.kill(run.pid, signal.SIGUSR1)
    _, err = run.communicate(timeout=120)
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    assert run.returncode == (0 if accepted else 128 + signal.SIGUSR1), err
    assert ("SLURM runs job 77 again" in err) == accepted
    assert ("SLURM does not run job 77 again (no)" in err) == (not accepted)
    again = start(folder, name, "resume=auto", **slurm)
    _, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert_as_uninterrupted(folder, name)


def test_two_ranks_save_one_checkpoint(folder: Path) -> None:
    """Lightning starts the second; both end after the same step."""
    ddp = ("trainer=ddp_cpu",)
    whole = start(folder, "ddp_whole", *ddp)
    _, err = whole.communicate(timeout=300)
    assert whole.returncode == 0, err
    run = start(folder, "ddp", *ddp)
    wait_for(folder / "ddp" / "checkpoints" / "step_0000003.ckpt", run)
    os.kill(run.pid, signal.SIGTERM)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 143, err
    assert err.count("stopped by SIGTERM") == 1
    assert f"step {steps(folder / 'ddp')[-1]} is saved" in err
    again = start(folder, "ddp", *ddp, "resume=auto")
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    first, other = load(folder / "ddp_whole"), load(folder / "ddp")
    assert all(torch.equal(value, other["state_dict"][key]) for key, value in first["state_dict"].items())


@pytest.mark.parametrize("step", [3, 4], ids=["while it trains", "while it validates"])
def test_signal_to_one_rank_alone_stops_both(folder: Path, step: int) -> None:
    name = f"alone_{step}"
    run = start(folder, name, "trainer=ddp_cpu")
    wait_for(folder / name / "checkpoints" / f"step_000000{step}.ckpt", run)
    os.kill(second_rank(run.pid), signal.SIGTERM)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 143, err
    assert [line for line in err.splitlines() if line.startswith(("stopped", "error", "Error", "Traceback"))] == [
        line for line in err.splitlines() if line.startswith(f"stopped by SIGTERM; step {steps(folder / name)[-1]} is")
    ]
    assert err.count("stopped by SIGTERM") == 1


def second_rank(pid: int) -> int:
    """The process that a run's first one has started, among its loader processes."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"LOCAL_RANK=1" in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError("there is no second rank")


def test_killed_loader_process_is_one_sentence(folder: Path) -> None:
    run = start(folder, "loader")
    wait_for(folder / "loader" / "checkpoints" / "step_0000003.ckpt", run)
    for worker in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split():
        os.kill(int(worker), signal.SIGKILL)
    killed = time.monotonic()
    _, err = run.communicate(timeout=120)
    assert time.monotonic() - killed < 30
    assert run.returncode == 1, err
    assert "Traceback" not in err
    assert err.count("error: a loader process was killed") == 1
    assert steps(folder / "loader")[0] == 3


@pytest.mark.parametrize("launcher", ["lightning", "torchrun"])
def test_ranks_of_a_second_training_get_one_sentence(folder: Path, launcher: str) -> None:
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29655"}
    with file_lock(folder / "locked", purpose="train"):
        run = start(folder, "locked", "trainer=ddp_cpu", **(ranks if launcher == "torchrun" else {}))
        _, err = run.communicate(timeout=120)
    assert run.returncode == 1
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    assert "is writing there" in err
    assert "Traceback" not in err
