"""`self_train`: predictions from a score up, resumed after a kill, merged alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from cutler_pl.errors import OutputWriteError
from cutler_pl.training.callbacks.coco_results import RankResults, parts_folder

from .conftest import Command

SCRIPT = "scripts/self_train.py"
REST = ("trainer=cpu", "num_workers=0", "max_detections=5")
SIZE = (40, 60)


@pytest.fixture
def given(tmp_path: Path, write_image: Any) -> tuple[str, str]:
    """Three images, two of them annotated, as overrides."""
    images = [{"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in (1, 2, 3)]
    for image in images:
        write_image(f"images/{image['file_name']}", SIZE, seed=image["id"])
    record = {"category_id": 3, "bbox": [2, 3, 20, 12], "area": 240, "iscrowd": 0}
    record["segmentation"] = [[2, 3, 22, 3, 22, 15, 2, 15]]
    annotations = [{"id": i, "image_id": i, **record} for i in (1, 2)]
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "cat"}]}
    coco["categories"].append({"id": 8, "name": "dog"})
    (tmp_path / "annotations.json").write_text(json.dumps(coco))
    return f"images={tmp_path}/images", f"annotations={tmp_path}/annotations.json"


def scores(folder: Path) -> list[float]:
    return [result["score"] for result in json.loads((folder / "predictions/predictions.json").read_text())]


def test_write_predictions_from_keep_score_up(
    command: Command, checkpoint: Path, given: tuple[str, str], tmp_path: Path
) -> None:
    everything, some = tmp_path / "all", tmp_path / "some"
    words = (f"checkpoint={checkpoint}", *given, *REST)
    assert command(SCRIPT, *words, f"output={everything}", "keep_score=0").code == 0
    found = scores(everything)
    least = sorted(found)[len(found) // 2]
    assert min(found) < least
    outcome = command(SCRIPT, *words, f"output={some}", f"keep_score={least!r}", f"threshold={max(found)!r}")
    assert outcome.code == 0, outcome.err
    assert scores(some) == [score for score in found if score >= least]


def test_resume_image_by_image(
    command: Command, checkpoint: Path, given: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends after two of three images, even of other ranks, does one more and gives the same files."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    words = (f"checkpoint={checkpoint}", *given, *REST, "keep_score=0", "threshold=0")
    assert command(SCRIPT, *words, f"output={whole}").code == 0

    add, seen = RankResults.add, []

    def failing(self: RankResults, image_id: int, prediction: Any, **options: Any) -> Any:
        if len(seen) == 2:
            raise OutputWriteError("the disk is full")
        seen.append(image_id)
        return add(self, image_id, prediction, **options)

    with monkeypatch.context() as patch:
        patch.setattr(RankResults, "add", failing)
        assert command(SCRIPT, *words, f"output={killed}").code == 1
    (part,) = parts_folder(killed / "predictions/predictions.json").glob("*.jsonl")
    part.rename(part.with_name("00001.jsonl"))
    with part.with_name("00001.jsonl").open("a") as file:
        file.write('{"image_id":3,"torn')

    done: list[int] = []

    def recording(self: RankResults, image_id: int, prediction: Any, **options: Any) -> Any:
        done.append(image_id)
        return add(self, image_id, prediction, **options)

    monkeypatch.setattr(RankResults, "add", recording)
    assert command(SCRIPT, *words, f"output={killed}").code == 0
    assert (seen, done) == ([1, 2], [3])
    for name in ("predictions/predictions.json", "annotations.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert command(SCRIPT, *words, f"output={killed}").code == 0
    assert done == [3]  # a finished run predicts nothing
    outcome = command(SCRIPT, *words, f"output={killed}", "max_detections=4")
    assert outcome.code == 1
    assert "holds results made with max_detections=5 where 4 is asked for now" in outcome.err
    outcome = command(SCRIPT, *words, f"output={killed}", "tta=flip")
    assert outcome.code == 1
    assert "holds results made with tta=None where TtaParams(flip=True" in outcome.err


def test_merge_predictions_without_checkpoint(
    command: Command, checkpoint: Path, given: tuple[str, str], tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    words = (f"checkpoint={checkpoint}", *given, *REST)
    assert command(SCRIPT, *words, f"output={first}", "keep_score=0.001", "threshold=0.001").code == 0
    made = first / "predictions" / "predictions.json"
    middle = sorted(scores(first))[len(scores(first)) // 2]
    alone = (f"predictions={made}", given[1], f"output={second}")
    outcome = command(SCRIPT, *alone, f"threshold={middle!r}")
    assert outcome.code == 0, outcome.err
    merged = json.loads((second / "annotations.json").read_text())["annotations"]
    assert all(annotation.get("score", 1) >= middle for annotation in merged)
    assert len(merged) < len(json.loads((first / "annotations.json").read_text())["annotations"])
    outcome = command(SCRIPT, *alone, "threshold=0.0005")
    assert outcome.code == 1
    assert f"no predictions below 0.001 (keep_score of {made})" in outcome.err


def test_sentences_of_missing_settings(command: Command, given: tuple[str, str], tmp_path: Path) -> None:
    output = f"output={tmp_path}/out"
    outcome = command(SCRIPT, *given, output)
    assert (outcome.code, "needed and not given: checkpoint=<value>" in outcome.err) == (1, True)
    outcome = command(SCRIPT, "checkpoint=a.ckpt", *given, output, "keep_score=0.8")
    assert outcome.code == 1
    assert "threshold=0.7: there are no predictions below 0.8 (keep_score=0.8)" in outcome.err
