"""`predict` on folders with odd names, with a small detector that has not been trained."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cutler_pl import images
from cutler_pl.coco.failures import read_failures
from cutler_pl.coco.io import load_coco, load_predictions
from cutler_pl.coco.parts import PartWriter
from cutler_pl.data import image_datamodule
from cutler_pl.runtime.signals import StoppedBySignal

from .conftest import LATIN_1, SMALL, Command


@pytest.fixture
def folder(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    for seed, name in enumerate(["a/one.png", "two.png", "latin.png"]):
        write_image(f"images/{name}", (40, 60), seed=seed)
    folder = tmp_path / "images"
    (folder / "latin.png").rename(folder / LATIN_1)
    (folder / os.fsdecode(b"br\xf6ken.jpg")).write_bytes(b"\xff\xd8\xff\xe0 not a jpeg")
    return folder


def test_predict_folder(
    command: Command, checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that are not UTF-8 reach every file; each image is decoded once; one progress bar is shown."""
    decoded: list[Path] = []
    read_image = images.read_image

    def count(path: Path, **options: bool) -> object:
        decoded.append(Path(path))
        return read_image(path, **options)

    monkeypatch.setattr(image_datamodule, "read_image", count)
    monkeypatch.setattr(images, "read_image", count)
    out = tmp_path / "out"
    outcome = command(
        "scripts/predict.py", f"checkpoint={checkpoint}", f"input={folder}", f"output={out}", "trainer=cpu",
        "num_workers=0", "overlay_score=0",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert len(decoded) == len(set(decoded)) == 4
    (bar,) = (line for line in outcome.out.split("\n") if "|" in line)
    assert "Predicting" in bar

    coco = load_coco(out / "images.json").coco
    sizes = {image["file_name"]: (image["height"], image["width"]) for image in coco["images"]}
    assert sizes == dict.fromkeys(["a/one.png", LATIN_1, "two.png"], (40, 60))
    assert [(category["id"], category["name"]) for category in coco["categories"]] == [(3, "cat"), (8, "dog")]
    results = load_predictions(out / "predictions.json", coco).results
    assert {result["image_id"] for result in results} == {image["id"] for image in coco["images"]}
    (failure,) = read_failures(out / "failures.jsonl").items()
    assert failure[0] == os.fsdecode(b"br\xf6ken.jpg")
    assert "not readable as an image" in failure[1]
    overlays = {path.relative_to(out / "overlays").as_posix() for path in (out / "overlays").rglob("*.jpg")}
    assert overlays == {name if name.endswith(".jpg") else f"{name}.jpg" for name in sizes}


def test_nothing_readable_is_an_error(command: Command, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    outcome = command(
        "scripts/predict.py", f"checkpoint={checkpoint}", f"input={tmp_path}/bad.png", f"output={tmp_path}/out",
        "trainer=cpu", "num_workers=0",
    )  # fmt: skip
    assert outcome.code == 1
    assert "none of the 1 images can be read" in outcome.err
    assert json.loads((tmp_path / "out/predictions.json").read_text()) == []


def test_killed_loader_process_is_one_sentence(
    command: Command, checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within seconds; whoever kills it, often the system for want of memory."""
    monkeypatch.setattr(image_datamodule, "read_image", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    start = time.monotonic()
    outcome = command(
        "scripts/predict.py", f"checkpoint={checkpoint}", f"input={folder}", f"output={tmp_path}/out", "trainer=cpu",
        "num_workers=1", "overlays=false",
    )  # fmt: skip
    assert outcome.code == 1
    assert outcome.err.count("error: a loader process was killed") == 1
    assert "Traceback" not in outcome.err
    assert time.monotonic() - start < 30
    assert not multiprocessing.active_children()


def test_settings_of_inference_act(command: Command, checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    given = (f"checkpoint={checkpoint}", f"input={folder}/two.png", "trainer=cpu", "num_workers=0", "overlays=false")
    found = {}
    for name, settings in {
        "usual": (),
        "two": ("max_detections=2",),
        "small": ("min_size_test=32", "max_size_test=48"),
        "high": ("score_threshold=0.999",),
        "flip": ("tta=flip",),
        "model": ("model=cascade_mask_rcnn_tiny", *(f"model.detector.{key}={value}" for key, value in SMALL.items())),
    }.items():
        outcome = command(
            "scripts/predict.py", *given, *(s.replace(" ", "") for s in settings), f"output={tmp_path}/{name}"
        )
        assert outcome.code == 0, outcome.err
        found[name] = json.loads((tmp_path / name / "predictions.json").read_text())
    assert len(found["usual"]) == 5
    assert found["two"] == found["usual"][:2]
    assert found["small"] != found["usual"]
    assert found["high"] == []
    assert found["flip"] not in (found["usual"], [])
    assert len(found["model"]) == 5


def test_tiles_of_a_large_image(
    command: Command, checkpoint: Path, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    """Their detections lie in the pixels of the image; without tiles there are others."""
    image, found = write_image("large.png", (150, 200)), {}
    for name, settings in {"whole": (), "tiles": ("tile=64", "overlap=0.5", "max_detections=20")}.items():
        words = (f"checkpoint={checkpoint}", f"input={image}", f"output={tmp_path}/{name}", *settings)
        outcome = command("scripts/predict.py", *words, "trainer=cpu", "num_workers=0")
        assert outcome.code == 0, outcome.err
        found[name] = json.loads((tmp_path / name / "predictions.json").read_text())
    assert len(found["whole"]) == 5
    assert len(found["tiles"]) > 5
    right, bottom = (max(r["bbox"][i] + r["bbox"][i + 2] for r in found["tiles"]) for i in (0, 1))
    assert 64 < right <= 200
    assert 64 < bottom <= 150
    assert {tuple(r["segmentation"]["size"]) for r in found["tiles"]} == {(150, 200)}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("num_classes=80", "num_classes=80, but .*small.ckpt was trained with 2; leave num_classes out"),
        ("model=mask_rcnn", "but .*small.ckpt was trained with"),
        ("min_size_test=0", "min_size_test=0: expected an integer from 1"),
        ("nms_threshold=7", "nms_threshold=7: expected a number from 0 to 1"),
    ],
)
def test_settings_against_the_checkpoint_are_errors(
    command: Command, checkpoint: Path, folder: Path, tmp_path: Path, setting: str, message: str
) -> None:
    outcome = command(
        "scripts/predict.py", f"checkpoint={checkpoint}", f"input={folder}", f"output={tmp_path}/o", setting
    )
    assert outcome.code == 1
    assert re.search(message, outcome.err.splitlines()[-1])
    assert not (tmp_path / "o").exists()


def test_interrupted_prediction_goes_on(
    command: Command, checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done is not done again; other settings start anew; the result is that of an uninterrupted run."""
    given = (f"checkpoint={checkpoint}", f"input={folder}", "trainer=cpu", "num_workers=0")
    assert command("scripts/predict.py", *given, f"output={tmp_path}/whole").code == 0
    predicted: list[int] = []
    append = PartWriter.append

    def stop_at_second(writer: PartWriter, records: list[dict[str, int]]) -> None:
        if len(predicted) == stop_at:
            raise StoppedBySignal(15)
        predicted.extend(record["image_id"] for record in records)
        append(writer, records)

    monkeypatch.setattr(PartWriter, "append", stop_at_second)
    stop_at = 1
    outcome = command("scripts/predict.py", *given, f"output={tmp_path}/out")
    assert outcome.code == 143
    assert not (tmp_path / "out" / "predictions.json").exists()
    stop_at = -1
    for setting in ("score_threshold=0.9", "tta=flip"):
        other_output = tmp_path / setting.partition("=")[0]
        shutil.copytree(tmp_path / "out", other_output)
        other = command("scripts/predict.py", *given, f"output={other_output}", setting)
        assert other.code == 0
        assert "an interrupted run" not in other.err
    del predicted[1:]
    again = command("scripts/predict.py", *given, f"output={tmp_path}/out")
    assert again.code == 0, again.err
    assert "an interrupted run has done 1 images" in again.err
    assert len(predicted) == len(set(predicted))
    for name in ("predictions.json", "images.json", "failures.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    overlays = [sorted(p.name for p in (tmp_path / out / "overlays").rglob("*.jpg")) for out in ("out", "whole")]
    assert overlays[0] == overlays[1]
    assert not list((tmp_path / "out").glob(".predictions*"))
