"""People's own classes: their number and names go from the annotation file into training, predictions and results."""

import json
from pathlib import Path

import pytest

from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.visual import records

from .conftest import Command

SMALL = (
    "experiment=few_shot", "model=cascade_mask_rcnn_tiny", "model/loss=plain", "trainer=cpu", "trainer.max_steps=1",
    "callbacks=quickstart", "callbacks.precise_bn=null", "data.batch_size=2", "data.train_sizes=[64]",
    "data.num_workers=0",
)  # fmt: skip


def test_class_names_reach_all_outputs(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names reach predictions, overlays and results."""
    images, annotations = tmp_path / "set" / "images", tmp_path / "set" / "annotations.json"
    write_scenes(images, 2, SceneParams(height=64, width=64), seed=0)
    coco = json.loads(annotations.read_text())
    coco["categories"] = [{"id": 7, "name": "dog"}, {"id": 2, "name": "rubber duck"}, {"id": 9, "name": "cat"}]
    for number, annotation in enumerate(coco["annotations"]):
        annotation["category_id"] = (7, 2, 9)[number % 3]
    annotations.write_text(json.dumps(coco))
    given = (f"data.images={images}", f"data.annotations={annotations}", f"paths.output_dir={tmp_path}/run")
    trained = command("train.py", *SMALL, *given)
    assert trained.code == 0, trained.err
    assert "of 3 classes" in trained.err

    labels: list[list[str]] = []
    draw = records.draw_instances
    monkeypatch.setattr(records, "draw_instances", lambda *a, **k: (labels.append(k["labels"]), draw(*a, **k))[1])
    checkpoint = f"checkpoint={tmp_path}/run/checkpoints/last.ckpt"
    rest = ("trainer=cpu", "num_workers=0", "overlay_score=0", "max_detections=5")
    done = command("scripts/predict.py", checkpoint, f"input={images}", f"output={tmp_path}/out", *rest)
    assert done.code == 0, done.err
    categories = json.loads((tmp_path / "out" / "images.json").read_text())["categories"]
    assert categories == [{"id": 2, "name": "rubber duck"}, {"id": 7, "name": "dog"}, {"id": 9, "name": "cat"}]
    names = {category["id"]: category["name"] for category in categories}
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert found
    assert {names[record["category_id"]] for record in found} == {name for part in labels for name in part}

    measured = command(
        "scripts/evaluate.py", checkpoint, f"images={images}", f"annotations={annotations}", "eval=per_class",
        f"output={tmp_path}/eval", "num_examples=1", "trainer=cpu", "num_workers=0", "max_detections=5",
    )  # fmt: skip
    assert measured.code == 0, measured.err
    by_name = json.loads((tmp_path / "eval" / "categories.json").read_text())["annotations"]
    assert list(by_name["segm"]) == ["rubber duck", "dog", "cat"]
    assert "rubber duck" in (tmp_path / "eval" / "index.html").read_text()
