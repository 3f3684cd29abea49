"""`evaluate`, `quality` and `self_train` on file names in Latin-1 bytes; `test_predict.py` has `predict`."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cutler_pl.coco.io import load_coco

from .conftest import LATIN_1, Command

NAMES = (LATIN_1, f"{os.fsdecode(bytes([0xE4]))}/two.png")
REST = ("trainer=cpu", "num_workers=0", "max_detections=5")


@pytest.fixture
def given(tmp_path: Path, write_image: Callable[..., Path]) -> tuple[str, str]:
    """Two images with an object each, as overrides."""
    coco = {"images": [], "annotations": [], "categories": [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}]}
    for number, name in enumerate(NAMES, 1):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        write_image("plain.png", (40, 60), seed=number).rename(tmp_path / "images" / name)
        coco["images"].append({"id": number, "file_name": name, "height": 40, "width": 60})
        mask = [[2, 3, 22, 3, 22, 15, 2, 15]]
        coco["annotations"].append(
            {"id": number, "image_id": number, "category_id": 3, "bbox": [2, 3, 20, 12], "segmentation": mask}
        )
    (tmp_path / "annotations.json").write_text(json.dumps(coco))
    return f"images={tmp_path}/images", f"annotations={tmp_path}/annotations.json"


def test_evaluate_checkpoint(command: Command, checkpoint: Path, given: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = command(
        "scripts/evaluate.py", f"checkpoint={checkpoint}", *given, f"output={out}", "num_examples=1", *REST
    )
    assert outcome.code == 0, outcome.err
    assert set(json.loads((out / "results.json").read_text())["annotations"]) == {"bbox", "segm"}
    assert len(list((out / "annotations" / "examples").glob("*.jpg"))) == 2
    page = (out / "index.html").read_text()  # such bytes are shown as question marks
    assert all(name in page for name in ("gr??e.png", "?/two.png"))


def test_quality(command: Command, given: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "images" / LATIN_1).write_bytes(b"no image")
    outcome = command("scripts/quality.py", *given, f"output={tmp_path}/out")
    assert outcome.code == 0, outcome.err
    figures = json.loads((tmp_path / "out" / "quality.json").read_text())["figures"]
    assert list(figures["images"]["unreadable"]) == [LATIN_1]
    assert (tmp_path / "out" / "surest.jpg").is_file()
    assert "gr??e.png" in (tmp_path / "out" / "index.html").read_text()


def test_self_train(command: Command, checkpoint: Path, given: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = command(
        "scripts/self_train.py",
        f"checkpoint={checkpoint}",
        *given,
        f"output={out}",
        "threshold=0.0",
        "keep_score=0",
        *REST,
    )
    assert outcome.code == 0, outcome.err
    coco = load_coco(out / "annotations.json").coco
    assert [image["file_name"] for image in coco["images"]] == list(NAMES)
    assert {annotation["image_id"] for annotation in coco["annotations"]} == {1, 2}
