"""What a refused or failed run leaves of an earlier good one in the same output: everything."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cutler_pl.datasets.scenes import SceneParams, write_scenes

from .conftest import Command

REST = ("trainer=cpu", "num_workers=0")
RECORDS = ("config.yaml", "run.json", "failures.jsonl", "skipped.jsonl", "rejected.txt", "counts.json")


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "set" / "images", 2, SceneParams(height=64, width=64), seed=0)
    return tmp_path / "set"


def records(folder: Path) -> dict[str, bytes]:
    """The content of what a run says of itself."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.name in RECORDS}


def refused(command: Command, folder: Path, script: str, good: list[str], bad: list[str]) -> str:
    """The sentence of a bad run after a good one."""
    outcome = command(script, *good)
    assert outcome.code == 0, outcome.err
    before = records(folder)
    assert before
    outcome = command(script, *good, *bad)
    assert outcome.code == 1
    assert records(folder) == before
    return outcome.err.splitlines()[-1]


def test_evaluate_keeps_records(command: Command, scenes: Path, checkpoint: Path, tmp_path: Path) -> None:
    coco = json.loads((scenes / "annotations.json").read_text())
    category = coco["categories"][0]["id"]
    found = [{"image_id": 1, "category_id": category, "score": 0.5, "bbox": [1, 1, 9, 9]}]
    (tmp_path / "found.json").write_text(json.dumps(found))
    (tmp_path / "bad.json").write_text(json.dumps([{**found[0], "image_id": 99}]))
    good = [f"annotations={scenes}/annotations.json", f"output={tmp_path}/out", "eval.iou_types=[bbox]"]
    good.append(f"images={scenes}/images")
    line = refused(
        command, tmp_path / "out", "scripts/evaluate.py", [*good, f"predictions={tmp_path}/found.json"],
        [f"predictions={tmp_path}/bad.json"],
    )  # fmt: skip
    assert "99" in line


def test_self_train_keeps_records(command: Command, scenes: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"images": 5}')
    good = [f"annotations={scenes}/annotations.json", f"images={scenes}/images", f"checkpoint={checkpoint}"]
    good += [f"output={tmp_path}/out", *REST, "keep_score=0", "threshold=0", "on_error=skip"]
    refused(
        command, tmp_path / "out", "scripts/self_train.py", good,
        ["checkpoint=null", "images=null", f"predictions={tmp_path}/bad.json"],
    )  # fmt: skip


def test_train_keeps_records(command: Command, scenes: Path, tmp_path: Path) -> None:
    good = ["experiment=quickstart", "trainer.max_steps=1", "data.num_workers=0", "callbacks.precise_bn=null"]
    good += [f"data.images={scenes}/images", f"data.annotations={scenes}/annotations.json"]
    good.append(f"paths.output_dir={tmp_path}/out")
    line = refused(command, tmp_path / "out", "train.py", good, [])
    assert "add resume=auto to go on with it" in line
    outcome = command("train.py", *good, "resume=auto", "model.detector.fpn_channels=32")
    assert outcome.code == 1
    assert OmegaConf.load(tmp_path / "out" / "config.yaml").model.detector.fpn_channels != 32


def test_maskcut_keeps_records(command: Command, scenes: Path, tmp_path: Path) -> None:
    good = [f"input={scenes}/images", f"output={tmp_path}/out", "maskcut=patch_descriptors", *REST]
    line = refused(command, tmp_path / "out", "scripts/maskcut.py", good, ["maskcut.tau=0.5"])
    assert "holds results made with" in line
    shards = tmp_path / "out" / "shards"
    inputs = json.loads((shards / "inputs.json").read_text())
    (shards / "inputs.json").write_text(json.dumps([*inputs, "more.png"]))
    before = records(tmp_path / "out")
    assert command("scripts/merge_shards.py", f"output={tmp_path}/out").code == 1
    assert records(tmp_path / "out") == before


def test_recipe_keeps_records(command: Command, tmp_path: Path) -> None:
    """A wrong setting of a later stage is found before anything is touched."""
    words = (
        "recipe=quickstart",
        f"recipe.output={tmp_path}/out",
        "recipe.stages.maskcut.overrides.num_workers=abc",
    )
    outcome = command("scripts/recipe.py", *words)
    assert outcome.code == 1
    assert "num_workers=abc: expected" in outcome.err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    data = tmp_path / "out" / "stages" / "1_data"
    data.mkdir(parents=True)
    for name in ("stages/1_data/a.png", "config.yaml", "run.json"):
        (tmp_path / "out" / name).write_text("earlier")
    before = records(tmp_path / "out")
    assert command("scripts/recipe.py", *words).code == 1
    assert records(tmp_path / "out") == before
    assert (data / "a.png").read_text() == "earlier"
