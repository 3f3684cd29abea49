"""A full disk: one sentence with the path; what was whole stays whole, and the same command goes on afterwards."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cutler_pl.datasets.scenes import SceneParams, write_scenes

SCRIPT = Path(__file__).with_name("disk_full.py")
REST = ["trainer=cpu", "num_workers=0"]


def run(folder: Path, *cases: tuple[int | None, str, list[str]]) -> list[str]:
    """The last line of each command, all in one process; those without a limit end well, the others with 1."""
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(cases)], cwd=folder, env=environment, capture_output=True, text=True,
        check=False, timeout=200,
    )  # fmt: skip
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == len(cases), done.stderr
    for (limit, name, _), (code, said) in zip(cases, outcomes, strict=True):
        assert code == (0 if limit is None else 1), (limit, name, said)
    return [said[0] for _, said in outcomes]


def whole(folder: Path) -> dict[str, bytes]:
    """Files that must stay as they are; no rest of a file that could not be written is among them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix == ".tmp"]
    kept = ("predictions.json", "annotations.json", "index.html", "config.yaml", "run.json", "result.json", "last.ckpt")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name in kept}


@pytest.mark.slow
def test_full_disk_ends_commands(tmp_path: Path) -> None:
    write_scenes(tmp_path / "set" / "images", 3, SceneParams(height=64, width=64), seed=0)
    coco = json.loads((tmp_path / "set" / "annotations.json").read_text())
    many = [{**coco["annotations"][0], "id": number} for number in range(1, 200)]
    (tmp_path / "set" / "many.json").write_text(json.dumps({**coco, "annotations": many}))
    train = ["experiment=quickstart", "data.num_workers=0", "callbacks.precise_bn=null", "data.images=set/images"]
    train += ["data.annotations=set/annotations.json", "paths.output_dir=train"]
    checkpoint, truth = "checkpoint=train/checkpoints/last.ckpt", "annotations=set/annotations.json"
    predict = [checkpoint, "input=set/images", "output=predict", *REST]
    evaluate = [checkpoint, truth, "images=set/images", "output=evaluate", "eval.iou_types=[bbox]", *REST]
    maskcut = ["input=set/images", "output=maskcut", "maskcut=patch_descriptors", "overlays=true", *REST]
    given = ["predictions=predict/predictions.json", truth]
    run(
        tmp_path,
        (None, "train", [*train, "trainer.max_steps=1"]),
        (None, "predict", predict),
        (None, "evaluate", evaluate),
        (None, "maskcut", maskcut),
    )
    before = whole(tmp_path)
    assert {Path(name).parts[0] for name in before} >= {"train", "predict", "evaluate", "maskcut"}
    again = [*train, "trainer.max_steps=2", "resume=auto"]
    said = run(
        tmp_path,
        (20_000, "train", again),
        (3000, "train", [*train[:-2], "data.annotations=set/many.json", "paths.output_dir=other"]),
        (10_000, "predict", [*predict, "score_threshold=0.01"]),
        (10_000, "evaluate", [*evaluate, "score_threshold=0.01"]),
        (300, "evaluate", [*evaluate, "method=other"]),
        (5000, "maskcut", maskcut),
        (1000, "self_train", [*given, "output=self_train", "threshold=0"]),
        (100, "convert_checkpoint", ["source=train/checkpoints/last.ckpt", "output=a.pth", "format=cutler_pl"]),
        (100, "convert_checkpoint", ["source=train/checkpoints/last.ckpt", "output=a.safetensors", "format=cutler_pl"]),
    )
    files = [
        "train/checkpoints/step_0000002.ckpt", "set/.many.json.index", "predict/.predictions.json.parts/00000.jsonl",
        "evaluate/annotations/.predictions.json.parts/00000.jsonl", "evaluate/results.json", "maskcut/index.html",
        "self_train/annotations.json", "a.pth", "a.safetensors",
    ]  # fmt: skip
    for sentence, file in zip(said, files, strict=True):
        assert f"{file}" in sentence
        assert "cannot be written" in sentence or "disk or the quota is full" in sentence
        assert "free space" in sentence
    assert whole(tmp_path) == before | {"train/config.yaml": (tmp_path / "train" / "config.yaml").read_bytes()}
    assert not (tmp_path / "other").exists()
    assert not list((tmp_path / "set").glob(".many.json.index/v*"))
    run(
        tmp_path,
        (None, "train", again),
        (None, "evaluate", [*evaluate, "method=other"]),
        (None, "predict", [*predict, "score_threshold=0.01"]),
    )
