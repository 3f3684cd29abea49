"""Trainings that find themselves again: `resume=`, the output folder, changed settings, damaged checkpoints."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cutler_pl.commands.sentences import explain
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.runtime.locks import file_lock

SMALL = (
    "experiment=quickstart", "model.detector.backbone=timm/test_resnet", "model.detector.fpn_channels=16",
    "model.detector.box_head_dim=16", "model.detector.mask_head_channels=8", "model.detector.mask_head_convs=1",
    "model.detector.rpn_pre_nms_train=50", "model.detector.rpn_post_nms_train=40", "data.train_sizes=[48]",
    "data.max_size=64", "data.batch_size=2", "data.num_workers=0", "callbacks.precise_bn=null",
    "callbacks.checkpoint.every_n_steps=2", "callbacks.checkpoint.save_top_k=null", "trainer.max_steps=4",
    "trainer.log_every_n_steps=1",
)  # fmt: skip

Train = Callable[..., Any]


@pytest.fixture
def scenes(tmp_path: Path) -> list[str]:
    write_scenes(tmp_path / "set" / "images", 4, SceneParams(height=48, width=64), seed=0)
    return [f"data.images={tmp_path}/set/images", f"data.annotations={tmp_path}/set/annotations.json"]


@pytest.fixture
def train(command: Any, scenes: list[str], tmp_path: Path) -> Train:
    """`train("resume=auto", …)`, in the folder `run` unless another is given."""

    def run(*settings: str, place: str = f"paths.output_dir={tmp_path}/run") -> Any:
        return command("train.py", *SMALL, *scenes, *([place] if place else []), *settings)

    return run


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def equal(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same weights, momentum and rates."""
    first, second = load(one), load(other)
    momentum = [
        {k: s["momentum_buffer"] for k, s in c["optimizer_states"][0]["state"].items()} for c in (first, second)
    ]
    same = [first["state_dict"], momentum[0]], [second["state_dict"], momentum[1]]
    rates = [[g["lr"] for g in c["optimizer_states"][0]["param_groups"]] for c in (first, second)]
    return rates[0] == rates[1] and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in zip(*same, strict=True)
    )


def sentence(outcome: Any) -> str:
    """The one line of a user error."""
    assert outcome.code == 1, outcome.err
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in outcome.err
    return str(line)


def test_auto_goes_on_to_the_same_weights(train: Train, tmp_path: Path) -> None:
    run, whole = tmp_path / "run" / "checkpoints", tmp_path / "whole" / "checkpoints"
    whole_run = train(place=f"paths.output_dir={tmp_path}/whole")
    assert whole_run.code == 0
    for line in (
        "4 steps of 2 images, 2.0 passes over 4 images; 1 class: fg", "learning rate 0.04 (optimizer.lr)",
        "precision 32-true, 1 process on the CPU", "a checkpoint every 2 steps, about", "no validation",
        "after an interruption go on by: python",
    ):  # fmt: skip
        assert line in whole_run.err
    first = train("resume=auto", "trainer.max_steps=2")
    assert first.code == 0, first.err
    assert f"resume=auto: no checkpoint in {run}, the training starts anew" in first.err
    second = train("resume=auto")
    assert second.code == 0, second.err
    assert re.search(rf"resumed from {run}/step_0000002.ckpt at step 2$", second.err, re.MULTILINE)
    assert equal(run / "last.ckpt", whole / "last.ckpt")
    finished = train("resume=auto")
    assert finished.code == 0
    assert f"the training is finished, {run}/step_0000004.ckpt is at step 4 of 4" in finished.err


def test_no_steps_name_no_checkpoint(train: Train, tmp_path: Path) -> None:
    outcome = train("trainer.max_steps=0")
    assert outcome.code == 0
    assert "nothing is trained" in outcome.err
    assert ".ckpt" not in outcome.err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_used_folder_and_unknown_words_are_refused(train: Train, tmp_path: Path) -> None:
    assert train("trainer.max_steps=2").code == 0
    assert "resume=auto" in sentence(train())
    assert "auto" in sentence(train("resume=last"))
    assert "is a folder" in sentence(train(f"resume={tmp_path}/run"))
    assert "none.ckpt" in sentence(train("resume=none.ckpt"))


def test_damaged_checkpoint_gives_way_to_the_older(train: Train, tmp_path: Path) -> None:
    assert train().code == 0
    run = tmp_path / "run" / "checkpoints"
    newest = run / "step_0000004.ckpt"
    content = bytearray(newest.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    whole = load(newest)
    newest.write_bytes(content)
    line = sentence(train(f"resume={newest}"))
    assert f"the next older whole one is resume={run}/step_0000002.ckpt" in line
    outcome = train("resume=auto")
    assert outcome.code == 0, outcome.err
    assert re.search(r"W resume: .*step_0000004.ckpt.*the checkpoint before it is taken", outcome.err)
    assert "step_0000002.ckpt at step 2" in outcome.err
    assert (run / "set_aside" / "step_0000004.ckpt").read_bytes() == bytes(content)
    again = load(newest)["state_dict"]
    assert all(torch.equal(value, again[key]) for key, value in whole["state_dict"].items())
    for path in run.glob("step_*"):
        path.write_bytes(b"")
    assert "none of the 2 checkpoints" in sentence(train("resume=auto"))


def test_changed_settings_act_or_are_refused(train: Train, tmp_path: Path) -> None:
    assert train("trainer.max_steps=2").code == 0
    changes = ("optimizer.lr=0.02", "optimizer.momentum=0.5", "scheduler.warmup_steps=2", "seed=5", "data.batch_size=4")
    outcome = train("resume=auto", *changes)
    assert outcome.code == 0, outcome.err
    for line in (
        "optimizer.lr 0.04 → 0.02", "optimizer.momentum 0.9 → 0.5", "scheduler.warmup_steps 30 → 2", "seed 0 → 5",
        "data.batch_size 2 → 4", "trainer.max_steps 2 → 4",
    ):  # fmt: skip
        assert f"changed on resume: {line} (acts from step 2)" in outcome.err
    assert len(re.findall("changed on resume", outcome.err)) == 6
    ended = load(tmp_path / "run" / "checkpoints" / "last.ckpt")
    groups = ended["optimizer_states"][0]["param_groups"]
    assert {(group["initial_lr"], group["lr"], group["momentum"]) for group in groups} == {(0.02, 0.02, 0.5)}
    assert "model (fpn_channels 16 → 8" in sentence(train("resume=auto", "model.detector.fpn_channels=8"))
    assert "model.init=a.ckpt" in sentence(train("resume=auto", "trainer.max_steps=5", "model.init=a.ckpt"))


@pytest.mark.slow
def test_advice_at_divergence_works(train: Train, tmp_path: Path) -> None:
    diverging = ("scheduler.warmup_steps=0", "optimizer.per_param_clip_norm=null", "optimizer.lr=1000")
    assert train("trainer.max_steps=2").code == 0
    line = sentence(train("resume=auto", "trainer.max_steps=40", *diverging))
    folder = f"{tmp_path}/run/checkpoints"
    advice = re.search(r"add (resume=\S+) (optimizer.lr=500) to go on from there \(or (resume=\S+), should", line)
    assert advice is not None, line
    assert (advice[1], advice[3]) == (f"resume={folder}/step_0000004.ckpt", f"resume={folder}/step_0000002.ckpt")
    outcome = train(advice[3], "trainer.max_steps=3", *diverging, advice[2])
    assert "optimizer.lr 0.04 → 500 (acts from step 2)" in outcome.err
    again = train(advice[3], "trainer.max_steps=6")
    assert again.code == 0, again.err
    last = load(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert {group["initial_lr"] for group in last["optimizer_states"][0]["param_groups"]} == {0.04}
    assert last["nonfinite_steps"] == [0, 0]


def test_second_training_in_a_folder_gets_one_sentence(train: Train, tmp_path: Path) -> None:
    with file_lock(tmp_path / "run", purpose="train"):
        line = sentence(train())
    assert "train" in line
    assert "is writing there" in line


def test_name_is_the_folder(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given on the command line; else a folder below it has the scheduler's id."""
    assert train("name=mine", "trainer.max_steps=1", place="").code == 0
    assert (tmp_path / "outputs" / "mine" / "checkpoints" / "last.ckpt").exists()
    monkeypatch.setenv("PBS_JOBID", "12.server")
    assert train("trainer.max_steps=1", place="").code == 0
    assert (tmp_path / "outputs" / "quickstart" / "pbs_12.server" / "checkpoints" / "last.ckpt").exists()


def test_killed_loader_is_explained() -> None:
    error = RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")
    assert "a loader process was killed" in str(explain(error, "train"))


def test_interrupted_last_validation_is_made_up(train: Train, scenes: list[str], tmp_path: Path) -> None:
    """Logged at its step, of a training that has no steps left."""
    validation = ["data/validation=folder", *(word.replace("data.", "data.validation.") for word in scenes)]
    assert train(*validation, "trainer.val_check_interval=4").code == 0
    run = tmp_path / "run"
    logged = (run / "logs" / "version_0" / "metrics.csv").read_text().splitlines()
    (run / "checkpoints" / "validated_step.txt").unlink()
    (run / "val_predictions.json").rename(tmp_path / "before.json")
    outcome = train("resume=auto", *validation, "trainer.val_check_interval=4")
    assert outcome.code == 0, outcome.err
    assert "the validation of step 4 was interrupted and is made up" in outcome.err
    assert "the training is finished" in outcome.err
    assert (run / "val_predictions.json").read_bytes() == (tmp_path / "before.json").read_bytes()
    again = (run / "logs" / "version_1" / "metrics.csv").read_text().splitlines()
    whole, made_up = (next(row for row in csv.DictReader(lines) if row["val/bbox/AP"]) for lines in (logged, again))
    assert {name: whole[name] for name in made_up if made_up[name]} == {n: v for n, v in made_up.items() if v}
