"""SIGINT and SIGTERM to whole processes: one sentence, 128 + signal, no process left; the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NUM_IMAGES = 120

pytestmark = pytest.mark.slow


@pytest.fixture
def commands(tmp_path: Path, checkpoint: Path, write_image: Callable[..., Path]) -> dict[str, tuple[list[str], str]]:
    """Words of each command, and the pattern of a file that is there once it works."""
    for number in range(NUM_IMAGES):
        write_image(f"images/{number:03d}.jpg", (240, 320), seed=number)
    images = [{"id": i + 1, "file_name": f"{i:03d}.jpg", "height": 240, "width": 320} for i in range(NUM_IMAGES)]
    box = {"bbox": [9, 9, 99, 99], "area": 9801, "iscrowd": 0, "category_id": 3}
    coco = {"images": images, "annotations": [{"id": i + 1, "image_id": i + 1, **box} for i in range(NUM_IMAGES)]}
    (tmp_path / "truth.json").write_text(json.dumps({**coco, "categories": [{"id": 3, "name": "cat"}]}))
    out, given = f"output={tmp_path}/out", ["trainer=cpu", "num_workers=2"]
    cut = ["maskcut", f"input={tmp_path}/images", "maskcut=patch_descriptors", out, *given]
    truth = [f"annotations={tmp_path}/truth.json", f"images={tmp_path}/images", f"checkpoint={checkpoint}", out, *given]
    predict = ["predict", f"checkpoint={checkpoint}", f"input={tmp_path}/images", out, *given]
    parts = "**/.predictions.json.parts/*.jsonl"
    return {
        "maskcut": (cut, "shards/*.jsonl"),
        "predict": (predict, parts),
        "evaluate": (["evaluate", *truth, "eval.iou_types=[bbox]"], parts),
        "self_train": (["self_train", *truth], parts),
        "quickstart": (
            ["quickstart", f"recipe.output={tmp_path}/out", "recipe.train_scenes=40"],
            "stages/2_*/shards/*",
        ),
    }


def start(words: list[str]) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "cutler_pl", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=environment,
    )  # fmt: skip


def stop(process: "subprocess.Popen[str]", signum: signal.Signals, *, group: bool) -> str:
    """Send the signal; what the process then says. It ends within 10 s and leaves no process behind."""
    sent = time.monotonic()
    (os.killpg if group else os.kill)(process.pid, signum)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - sent < 10
    assert process.returncode == 128 + signum, err
    assert "Traceback" not in err
    assert [line for line in err.splitlines() if "stopped by" in line] == [
        f"stopped by {signum.name}; the same command goes on from what is finished"
    ]
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return err


def wait_for(process: "subprocess.Popen[str]", folder: Path, pattern: str) -> None:
    for _ in range(1200):
        if any(path.stat().st_size for path in folder.glob(pattern)) or process.poll() is not None:
            return
        time.sleep(0.1)


@pytest.mark.parametrize("group", [False, True], ids=["process", "group"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["maskcut", "predict", "evaluate", "self_train", "quickstart"])
def test_signal_ends_command(
    commands: dict[str, tuple[list[str], str]], tmp_path: Path, name: str, signum: signal.Signals, group: bool
) -> None:
    words, pattern = commands[name]
    process = start(words)
    wait_for(process, tmp_path / "out", pattern)
    stop(process, signum, group=group)


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 3.0])
def test_signal_ends_start(commands: dict[str, tuple[list[str], str]], seconds: float) -> None:
    process = start(commands["maskcut"][0])
    time.sleep(seconds)
    stop(process, signal.SIGTERM, group=True)


def test_stopped_maskcut_equals_uninterrupted(commands: dict[str, tuple[list[str], str]], tmp_path: Path) -> None:
    words, pattern = commands["maskcut"]
    process = start(words)
    wait_for(process, tmp_path / "out", pattern)
    stop(process, signal.SIGTERM, group=True)
    assert not (tmp_path / "out" / "annotations.json").exists()
    whole = [word.replace("/out", "/whole") for word in words]
    for arguments in (words, whole):
        process = start(arguments)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    found = [(tmp_path / name / "annotations.json").read_bytes() for name in ("out", "whole")]
    assert found[0] == found[1]
