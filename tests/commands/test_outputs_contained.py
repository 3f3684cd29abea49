"""Nothing outside the output folder is touched."""

import errno
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cutler_pl.commands.sentences import explain
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.runtime.locks import file_lock

from .conftest import Command


def tree(folder: Path, *, without: Path) -> dict[str, str]:
    """Digest of every file below a folder, those of the output folder aside."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(without))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def listed(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """A list file of an absolute path, a path that leads upwards, two of one name, and an elongated image."""
    first = write_image("images/a.jpg", seed=1)
    write_image("images/b/a.jpg", seed=2)
    write_image("up.png", seed=3)
    write_image("images/long.png", (2, 3000), seed=4)
    names = [str(first), "../images/b/a.jpg", "../up.png", "../images/long.png"]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "all.txt").write_text("\n".join(names))
    return tmp_path / "lists" / "all.txt"


def test_maskcut_figures_stay_in_output(command: Command, tmp_path: Path, listed: Path) -> None:
    output = tmp_path / "out"
    before = tree(tmp_path, without=output)
    outcome = command(
        "scripts/maskcut.py", f"input={listed}", f"output={output}", "maskcut=patch_descriptors", "overlays=true",
        "maskcut.fixed_size=96", "num_workers=0", "trainer=cpu",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert tree(tmp_path, without=output) == before
    assert len(list((output / "overlays").rglob("*.jpg"))) == 4
    assert len(list((output / "steps").rglob("*.jpg"))) == 4


def test_predict_figures_stay_in_output(command: Command, tmp_path: Path, checkpoint: Path, listed: Path) -> None:
    output = tmp_path / "out"
    before = tree(tmp_path, without=output)
    outcome = command(
        "scripts/predict.py", f"checkpoint={checkpoint}", f"input={listed}", f"output={output}", "trainer=cpu",
        "num_workers=0",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert tree(tmp_path, without=output) == before
    assert len(list((output / "overlays").rglob("*.jpg"))) == 4


def test_second_predict_in_one_folder_is_refused(
    command: Command, tmp_path: Path, checkpoint: Path, listed: Path
) -> None:
    with file_lock(tmp_path / "out", purpose="predict"):
        outcome = command(
            "scripts/predict.py", f"checkpoint={checkpoint}", f"input={listed}", f"output={tmp_path}/out",
            "trainer=cpu", "num_workers=0",
        )  # fmt: skip
    assert outcome.code == 1
    assert "choose another output folder" in outcome.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".lock"}


def test_predict_without_images_keeps_predictions(command: Command, tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_text("no image")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.json").write_text("[1]")
    outcome = command(
        "scripts/predict.py", f"checkpoint={checkpoint}", f"input={tmp_path}/images", f"output={tmp_path}/out",
        "trainer=cpu", "num_workers=0",
    )  # fmt: skip
    assert outcome.code == 1
    assert (tmp_path / "out" / "predictions.json").read_text() == "[1]"


def test_maskcut_keeps_foreign_annotations(command: Command, tmp_path: Path, listed: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "annotations.json").write_text("{}")
    outcome = command(
        "scripts/maskcut.py", f"input={listed}", f"output={tmp_path}/out", "maskcut=patch_descriptors", "trainer=cpu",
        "num_workers=0",
    )  # fmt: skip
    assert outcome.code == 1
    assert "choose another output folder or move the file away" in outcome.err
    assert (tmp_path / "out" / "annotations.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["..", "../a", "", "/a"])
def test_evaluate_writes_below_output(command: Command, tmp_path: Path, name: str) -> None:
    files = [tmp_path / "truth.json", tmp_path / "found.json"]
    for path in files:
        path.write_text("[]")
    before = tree(tmp_path, without=tmp_path / "out")
    outcome = command(
        "scripts/evaluate.py", f"annotations={files[0]}", f"predictions={files[1]}", f"output={tmp_path}/out",
        f"dataset='{name}'",
    )  # fmt: skip
    assert outcome.code == 1
    assert f"dataset={name} names a folder of the output" in outcome.err
    assert tree(tmp_path, without=tmp_path / "out") == before


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/out/last.ckpt"),
        RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/3"),
    ],
)
def test_full_disk_is_one_sentence(error: Exception) -> None:
    sentence = explain(error, "train")
    assert sentence is not None
    assert "the disk or the quota is full; free space, then run the same command again" in sentence


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), RuntimeError("a bug")])
def test_bug_keeps_its_traceback(error: Exception) -> None:
    assert explain(error, "train") is None


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("data.images=none", "data.images=none"),
        ("model.detector.backbone=abc", "model.detector.backbone=abc: no such network"),
        ("resume=abc", "resume=abc: neither a file nor the word auto"),
        ("optimizer=null", "optimizer=null: expected the name of an option"),
    ],
)
def test_refused_training_leaves_no_folder(command: Command, tmp_path: Path, setting: str, found: str) -> None:
    """Whether it is refused before it holds the lock of its folder or after."""
    write_scenes(tmp_path / "set" / "images", 2, SceneParams(height=64, width=64), seed=0)
    before = {*tmp_path.rglob("*")}
    data = (f"data.images={tmp_path}/set/images", f"data.annotations={tmp_path}/set/annotations.json")
    outcome = command("train.py", "experiment=quickstart", "data.num_workers=0", *data, setting)
    assert outcome.code == 1
    assert found in outcome.err.splitlines()[-1]
    assert {path for path in {*tmp_path.rglob("*")} - before if ".index" not in str(path)} == set()


def test_refused_run_leaves_no_folder(command: Command, tmp_path: Path) -> None:
    """Nor those above it, where it made them."""
    outcome = command("scripts/merge_shards.py", f"output={tmp_path}/a/b", "sources=[none]")
    assert outcome.code == 1
    (tmp_path / "own").mkdir()
    assert command("scripts/merge_shards.py", f"output={tmp_path}/own", f"sources=[{tmp_path}/cwd]").code == 1
    assert {path.name for path in tmp_path.rglob("*")} == {"cwd", "own"}


def test_failed_prediction_keeps_the_record(command: Command, tmp_path: Path, checkpoint: Path) -> None:
    """What an earlier run wrote stays, its record and its list of failures too."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_text("no image")
    (tmp_path / "out").mkdir()
    names = ("predictions.json", "failures.jsonl", "config.yaml", "run.json", "images.json")
    for name in names:
        (tmp_path / "out" / name).write_text("[1]")
    outcome = command(
        "scripts/predict.py", f"checkpoint={checkpoint}", f"input={tmp_path}/images", f"output={tmp_path}/out",
        "trainer=cpu", "num_workers=0",
    )  # fmt: skip
    assert outcome.code == 1
    assert all((tmp_path / "out" / name).read_text() == "[1]" for name in names)


@pytest.mark.parametrize("size_hw", [(2, 5000), (5000, 2)])
def test_elongated_images_are_drawn(
    command: Command, tmp_path: Path, checkpoint: Path, write_image: Callable[..., Path], size_hw: tuple[int, int]
) -> None:
    write_image("images/long.png", size_hw)
    given = (f"input={tmp_path}/images", "trainer=cpu", "num_workers=0")
    found = command("scripts/predict.py", f"checkpoint={checkpoint}", f"output={tmp_path}/out", *given)
    assert found.code == 0, found.err
    height, width = size_hw
    image = {"id": 1, "file_name": "long.png", "height": height, "width": width}
    box = {"bbox": [0, 0, width, height], "area": 2 * 5000, "iscrowd": 0}
    coco = {"images": [image], "annotations": [{"id": 1, "image_id": 1, "category_id": 3, **box}]}
    coco["categories"] = [{"id": 3, "name": "cat"}]  # type: ignore[list-item]
    (tmp_path / "truth.json").write_text(json.dumps(coco))
    (tmp_path / "found.json").write_text(json.dumps([{"image_id": 1, "category_id": 3, "score": 0.5, **box}]))
    measured = command(
        "scripts/evaluate.py", f"annotations={tmp_path}/truth.json", f"predictions={tmp_path}/found.json",
        f"images={tmp_path}/images", f"output={tmp_path}/page", "eval.iou_types=[bbox]",
    )  # fmt: skip
    assert measured.code == 0, measured.err
    masks = command(
        "scripts/maskcut.py", *given, f"output={tmp_path}/cut", "maskcut=patch_descriptors", "overlays=true",
        "maskcut.fixed_size=96",
    )  # fmt: skip
    assert masks.code == 0, masks.err
