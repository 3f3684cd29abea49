"""The recipe of the paper end to end: every stage, a rerun, a changed setting; kills and signals in its processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cutler_pl.commands.recipe.markers import Marker
from cutler_pl.commands.recipe.stages import Stage

from .conftest import ROOT, Command
from .cutler_recipe import words, write_data

STAGES = ["1_masks_0", "2_train_0", "3_masks_1", "4_train_1", "5_masks_2", "6_train_2", "7_evaluate", "8_report"]
HERE = "recipe.own_processes=false"


def marks(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("stages/*/stage.json")}


@pytest.mark.slow
def test_rounds_from_images_to_report(command: Command, tmp_path: Path) -> None:
    """A rerun keeps everything; a setting of the evaluation redoes it and the report alone."""
    write_data(tmp_path)
    outcome = command("scripts/recipe.py", *words(tmp_path), HERE)
    assert outcome.code == 0, outcome.err
    before = marks(tmp_path / "out")
    assert sorted(before) == STAGES
    assert "self-training merge at score 0.02" in outcome.err
    assert "self-training merge at score 0.01" in outcome.err
    report = (tmp_path / "out" / "report.md").read_text()
    assert "| MaskCut | 6 |" in report
    assert "| round 2 | 6 |" in report
    assert "| annotations | box |" in report
    assert "<svg" in (tmp_path / "out" / "index.html").read_text() or list((tmp_path / "out").glob("loss_*.svg"))

    again = command("scripts/recipe.py", *words(tmp_path, more=", eval.max_dets: [1, 10, 20]"), HERE)
    assert again.code == 0, again.err
    after = marks(tmp_path / "out")
    assert [name for name in STAGES if before[name] != after[name]] == ["7_evaluate", "8_report"]
    assert "AR20" in (tmp_path / "out" / "report.md").read_text()


def test_stage_alone_needs_those_before(command: Command, tmp_path: Path) -> None:
    write_data(tmp_path)
    outcome = command("scripts/recipe.py", *words(tmp_path), "only=train_0")
    assert (outcome.code, outcome.err.count("error: ")) == (1, 1)
    assert "the stage masks_0 before it is not finished" in outcome.err
    unknown = command("scripts/recipe.py", *words(tmp_path), "only=train")
    assert "it has masks_0, train_0, masks_1, train_1" in unknown.err


def start(folder: Path, *settings: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts/recipe.py"), *words(folder, steps=6), *settings], cwd=folder, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def stop(run: "subprocess.Popen[str]", ready: Callable[[], bool], signum: signal.Signals, *, group: bool) -> str:
    until = time.monotonic() + 120
    while not ready():
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)
    (os.killpg if group else os.kill)(run.pid, signum)
    return run.communicate(timeout=120)[1]


@pytest.mark.slow
def test_killed_recipe_goes_on(tmp_path: Path) -> None:
    """Killed in MaskCut, a training, a prediction; told to end in another training. Weights as without all that."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        write_data(folder, images=12)
    run = start(whole, HERE)
    _, err = run.communicate(timeout=280)
    assert run.returncode == 0, err

    stages = killed / "out" / "stages"
    stop(start(killed, HERE), lambda: bool(list(stages.glob("1_masks_0/shards/*"))), signal.SIGKILL, group=True)
    stop(start(killed, HERE), (stages / "2_train_0/checkpoints/step_0000002.ckpt").exists, signal.SIGKILL, group=True)
    predicted = "3_masks_1/predictions/.*"
    err = stop(start(killed, HERE), lambda: bool(list(stages.glob(predicted))), signal.SIGKILL, group=True)
    assert "resumed from" in err
    run = start(killed)
    err = stop(run, (stages / "4_train_1/checkpoints/step_0000002.ckpt").exists, signal.SIGTERM, group=False)
    assert run.returncode == 143
    assert "interrupted before, goes on: cutler self_train" in err
    assert "is saved, go on by: python " in err
    assert f"recipe.output={killed}/out" in err.rpartition("go on by: ")[2]
    assert "Traceback" not in err
    run = start(killed, HERE)
    _, err = run.communicate(timeout=280)
    assert run.returncode == 0, err
    assert "resumed from" in err
    for name in ("2_train_0", "4_train_1", "6_train_2"):
        states = [torch.load(f / "out/stages" / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
                  for f in (whole, killed)]  # fmt: skip
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.slow
def test_failed_stage_is_named(tmp_path: Path) -> None:
    """The process of the stage says why."""
    write_data(tmp_path)
    run = start(tmp_path, "maskcut.fixed_size=65")
    _, err = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "maskcut.fixed_size=65" in err
    assert err.splitlines()[-1] == (
        "error: stage 1 of 8, masks_0: failed; the same command goes on from what is finished"
    )


def test_dry_run_prints_plan_and_writes_nothing(command: Command, tmp_path: Path) -> None:
    write_data(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    outcome = command("scripts/recipe.py", *words(tmp_path), "dry_run=true")
    assert outcome.code == 0, outcome.err
    assert sorted(tmp_path.rglob("*")) == before
    rows = {line.split()[0]: line for line in outcome.out.splitlines() if line.strip()}
    assert [name.partition("_")[2] for name in STAGES] == [name for name in rows if "stages/" in rows[name]]
    assert f"{tmp_path}/set/images" in rows["masks_0"]
    assert "4 (2 steps)" in rows["train_1"]
    assert "train_0, masks_1" in rows["train_1"]
    assert "size of the weights" in rows["train_1"]
    assert all("to do" in row for row in rows.values() if "stages/" in row)
    assert "8 not measured" in rows["all"]


def test_dry_run_names_sources_of_its_rates(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished stages of the same output measure; without them, the documented rates are for a GPU."""
    write_data(tmp_path)
    settings = [word for word in words(tmp_path) if not word.startswith("recipe.trainer")]
    outcome = command("scripts/recipe.py", *settings, "recipe.trainer=default", "dry_run=true")
    assert "documented, one H100" in outcome.out

    def finished(stage: Stage, fingerprint: str) -> Marker:
        seconds = {"masks_0": 8.0, "train_0": 16.0}.get(stage.name)
        return Marker("to do") if seconds is None else Marker("finished", seconds)

    monkeypatch.setattr("cutler_pl.commands.recipe.dry_run.read_marker", finished)
    outcome = command("scripts/recipe.py", *words(tmp_path), "dry_run=true")
    rows = {line.split()[0]: line for line in outcome.out.splitlines() if line.strip()}
    assert "measured, this stage" in rows["masks_0"]
    assert "16 s" in rows["train_1"]
    assert "measured here, rate of train_0" in rows["train_1"]
    assert "finished" in rows["train_0"]


@pytest.mark.parametrize("setting", ["recipe.train={data.batch_size: 0}", "recipe.evaluate={nothing: 1}"])
def test_dry_run_checks_settings_of_every_stage(command: Command, tmp_path: Path, setting: str) -> None:
    outcome = command("scripts/recipe.py", *words(tmp_path), "dry_run=true", setting)
    assert (outcome.code, outcome.err.count("error: ")) == (1, 1)
