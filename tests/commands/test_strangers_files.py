"""Annotations, results and shards that somebody else wrote: each command refuses them in one sentence."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, Command
from .test_bad_input import TINY, change, sentence

SIZE = (40, 60)
REST = ("trainer=cpu", "num_workers=0", "max_detections=5")
FAR = [[2, 3, 1e9, 3, 1e9, 9]]


@pytest.fixture
def given(tmp_path: Path, write_image: Callable[..., Path]) -> tuple[Path, Path]:
    """A folder of two images, and its annotations."""
    images = [{"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in (1, 2)]
    for image in images:
        write_image(f"images/{image['file_name']}", SIZE, seed=image["id"])
    mask = [[2, 3, 22, 3, 22, 15, 2, 15]]
    record = {"category_id": 3, "bbox": [2, 3, 20, 12], "area": 240, "iscrowd": 0, "segmentation": mask}
    annotations = [{"id": i, "image_id": i, **record} for i in (1, 2)]
    path = tmp_path / "annotations.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "cat"}]})
    )
    return tmp_path / "images", path


def overrides(name: str, given: tuple[Path, Path], checkpoint: Path, output: Path) -> tuple[str, ...]:
    """A command on the images and annotations."""
    images, annotations = given
    both = (f"images={images}", f"annotations={annotations}")
    return {
        "train.py": (*TINY, *(f"data.{setting}" for setting in both), f"paths.output_dir={output}"),
        "scripts/self_train.py": (f"checkpoint={checkpoint}", *both, f"output={output}", *REST),
        "scripts/evaluate.py": (f"checkpoint={checkpoint}", *both, f"output={output}", *REST),
        "scripts/make_coco_splits.py": (both[1], f"output={output}", "percents=[50]"),
        "scripts/export_labels.py": (*both, f"output={output}", "format=yolo"),
        "scripts/quality.py": (*both, f"output={output}"),
        "scripts/discover.py": (*both, f"output={output}", "maskcut=patch_descriptors"),
        "scripts/prepare_dataset.py": ("name=coco", f"root={images.parent}", *both, f"output={output}/a.json"),
    }[name]


OF_IMAGES = (
    "train.py",
    "scripts/self_train.py",
    "scripts/evaluate.py",
    "scripts/export_labels.py",
    "scripts/quality.py",
    "scripts/discover.py",
)
READERS = (*OF_IMAGES, "scripts/make_coco_splits.py")


def first(record: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda coco: coco[record][0].update(fields)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (first("images", id=2**63), "within 64 bits"),
        (lambda coco: coco.update(annotations=5), 'the list "annotations"'),
    ],
)
def test_name_file_and_record(
    command: Command, checkpoint: Path, given: tuple[Path, Path], tmp_path: Path, name: str, edit: Any, what: str
) -> None:
    change(given[1], edit)
    line = sentence(command(name, *overrides(name, given, checkpoint, tmp_path / "out")))
    assert str(given[1]) in line
    assert what in line


@pytest.mark.parametrize("name", OF_IMAGES)
@pytest.mark.parametrize("file_name", ["../secret.png", "ABSOLUTE"])
def test_read_nothing_outside_images(
    command: Command,
    checkpoint: Path,
    given: tuple[Path, Path],
    write_image: Callable[..., Path],
    tmp_path: Path,
    name: str,
    file_name: str,
) -> None:
    secret = write_image("secret.png", SIZE)
    change(given[1], first("images", file_name=file_name.replace("ABSOLUTE", str(secret))))
    line = sentence(command(name, *overrides(name, given, checkpoint, tmp_path / "out")))
    assert "leads out of the image folder" in line
    assert f"{given[1]}: image 1" in line
    assert "set images=<folder>" in line


def test_absolute_names_in_images(command: Command, checkpoint: Path, given: tuple[Path, Path], tmp_path: Path) -> None:
    """Absolute file names are read where `images` holds them."""
    change(given[1], first("images", file_name=f"{given[0]}/1.png"))
    outcome = command("scripts/evaluate.py", *overrides("scripts/evaluate.py", given, checkpoint, tmp_path / "out"))
    assert outcome.code == 0, outcome.err


def test_examples_stay_in_images(
    command: Command, given: tuple[Path, Path], write_image: Callable[..., Path], tmp_path: Path
) -> None:
    """The figures of an evaluation show no image from outside; the metrics do not depend on it."""
    write_image("secret.png", SIZE)
    change(given[1], first("images", file_name="../secret.png"))
    outcome = command(
        "scripts/evaluate.py", f"predictions={given[1]}", f"annotations={given[1]}", f"images={given[0]}",
        f"output={tmp_path}/out", "num_examples=2",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "1 images left out, the first: the file_name '../secret.png' leads out" in outcome.err


def test_name_too_long_is_missing(command: Command, checkpoint: Path, given: tuple[Path, Path], tmp_path: Path) -> None:
    change(given[1], first("images", file_name="x" * 300))
    name = "scripts/evaluate.py"
    assert "no image file" in sentence(command(name, *overrides(name, given, checkpoint, tmp_path / "out")))


@pytest.mark.parametrize("line", ["{", '{"file": "1.png"}', "[" * 3000])
def test_damaged_failures_are_named(command: Command, given: tuple[Path, Path], tmp_path: Path, line: str) -> None:
    results = tmp_path / "predictions.json"
    results.write_text("[]")
    (tmp_path / "failures.jsonl").write_text(line + "\n")
    outcome = command(
        "scripts/evaluate.py", f"predictions={results}", f"annotations={given[1]}", f"output={tmp_path}/out"
    )
    assert "failures.jsonl, line 1: damaged" in sentence(outcome)


def maskcut(command: Command, given: tuple[Path, Path], tmp_path: Path) -> Any:
    place = (f"input={given[0]}", f"output={tmp_path}/masks", "maskcut=patch_descriptors", "maskcut.fixed_size=96")
    return command("scripts/maskcut.py", *place, "trainer=cpu", "num_workers=0")


@pytest.mark.parametrize("content", ["{", "5", "[" * 3000])
@pytest.mark.parametrize("file", ["parameters.json", "inputs.json"])
def test_damaged_records_of_run_are_named(
    command: Command, given: tuple[Path, Path], tmp_path: Path, file: str, content: str
) -> None:
    shards = tmp_path / "masks" / "shards"
    shards.mkdir(parents=True)
    (shards / file).write_text(content)
    line = sentence(maskcut(command, given, tmp_path))
    assert f"{shards}/{file}: " in line
    assert "remove this file" in line


def test_damaged_shard_line_is_done_again(command: Command, given: tuple[Path, Path], tmp_path: Path) -> None:
    assert maskcut(command, given, tmp_path).code == 0
    before = (tmp_path / "masks" / "annotations.json").read_bytes()
    (shard,) = (tmp_path / "masks" / "shards").glob("*.jsonl")
    lines = shard.read_text().splitlines()
    damages: list[dict[str, Any]] = [
        {"annotations": 5}, {"annotations": [5]}, {"height": "x"}, {"annotations": [{"bbox": FAR, "area": 1}]}
    ]  # fmt: skip
    for fields in damages:
        shard.write_text(json.dumps(json.loads(lines[0]) | fields) + "\n" + "\n".join(lines[1:]) + "\n")
        outcome = maskcut(command, given, tmp_path)
        assert outcome.code == 0, outcome.err
        assert "1 damaged lines; their images are done again" in outcome.err
        assert (tmp_path / "masks" / "annotations.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OF_IMAGES, "scripts/prepare_dataset.py"])
@pytest.mark.parametrize("number", [1e9, 1e300])
def test_far_polygon_crashes_no_command(
    checkpoint: Path, given: tuple[Path, Path], tmp_path: Path, name: str, number: float
) -> None:
    """Rasterised, such a polygon ends the interpreter (SIGSEGV); so each command runs in a process of its own."""
    change(given[1], first("annotations", segmentation=[[2, 3, number, 3, number, 9]]))
    ended = subprocess.run(
        [sys.executable, str(ROOT / name), *overrides(name, given, checkpoint, tmp_path / "out")],
        capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PROJECT_ROOT": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert "far outside its image" in line or "mask does not fit its image 1×" in line
