"""What users get wrong ends with one sentence that names the file and the way out, and a non-zero exit code."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cutler_pl.datasets.scenes import SceneParams, write_scenes

from .conftest import Command, Outcome

TINY = ("experiment=quickstart", "trainer.max_steps=1", "data.num_workers=0", "callbacks.precise_bn=null")


@pytest.fixture
def scenes(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of images and its annotation file."""
    write_scenes(tmp_path / "set" / "images", 3, SceneParams(height=64, width=64), seed=0)
    return tmp_path / "set" / "images", tmp_path / "set" / "annotations.json"


def sentence(outcome: Outcome) -> str:
    """The one error line of a command that failed."""
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    lines = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert outcome.err.splitlines()[-1] == lines[0]
    assert "Error executing job" not in outcome.err
    return lines[0]


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    coco = json.loads(path.read_text())
    edit(coco)
    path.write_text(json.dumps(coco))


def train(command: Command, images: Path, annotations: Path, *more: str) -> Outcome:
    return command("train.py", *TINY, f"data.images='{images}'", f"data.annotations='{annotations}'", *more)


def test_unknown_setting_names_the_closest(command: Command) -> None:
    line = sentence(command("train.py", "trainer.max_step=3"))
    assert "'trainer.max_step'" in line
    assert "trainer.max_steps" in line


def test_unknown_option_lists_the_others(command: Command) -> None:
    line = sentence(command("train.py", "experiment=cutler_casc"))
    assert "there is no option experiment=cutler_casc; did you mean cutler_cascade?; choose one of " in line
    assert "semi_10pct" in line
    assert "search path" not in line


def test_word_without_value_is_no_setting(command: Command) -> None:
    assert "checkpoint is no setting; settings are given as name=value" in sentence(
        command("scripts/predict.py", "checkpoint")
    )


def test_value_that_is_needed_is_named(command: Command) -> None:
    assert "data.images" in sentence(command("train.py", "data=folder", "data.annotations=a.json"))
    line = sentence(command("scripts/predict.py", "input=a"))
    assert "checkpoint=<value> output=<value>" in line


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("paths=[0]", r"paths=\[0\]: expected the name of an option of this group, one of default$"),
        ("paths=null", r"paths=null: expected the name of an option"),
        ("~paths=[x]", r"~paths=\[x\]: expected the name of an option"),
        ("hydra/job_logging=[0]", r"hydra/job_logging=\[0\]: expected the name of an option of this group$"),
        ("model=[mask_rcnn,b]", r"there is no option model=b; choose one of cascade_mask_rcnn"),
        ("hydra.run.dir=[0]", r"hydra.run.dir=\[0\]: Cannot convert 'list' to string"),
        ("hydra.run.dir=/proc/x", r"/proc/x: Hydra cannot write there .*give another folder, hydra.run.dir=<folder>"),
        ("--config-name=zzz", r"--config-name=zzz: there is no such config; leave it out$"),
        ("output=${oc.env:NONE}", r"output=\$\{oc.env:NONE\} cannot be read: .*'NONE' not found"),
        ("output=${eval:1}", r"output=\$\{eval:1\} cannot be read: Unsupported interpolation type eval; write"),
        ("=x", r"'=x' names no setting; settings are given as name=value"),
        ("", r"'' names no setting"),
        ("'output=x'", r"'output=x' cannot be read: the inner quotes belong around the value alone, \"output='x'\"$"),
        ("trainer.strategy=abc", r"trainer.strategy=abc: expected one of auto, ddp"),
        ("trainer.strategy=5", r"trainer.strategy=5: expected a text"),
        ("max_detections=0", r"max_detections=0: expected an integer from 1 to 65536 or null$"),
        ("min_size_test=5000", r"=5000: expected an integer from 1 to 4096 \(CUTLER_PL_MAX_TEST_SIZE raises it\)"),
    ],
)
def test_word_of_the_wrong_kind_is_named(command: Command, word: str, found: str) -> None:
    """What Hydra would answer by a traceback or its own words, and values out of range."""
    given = (f"checkpoint={__file__}", f"input={Path(__file__).parent}", "output=out")
    assert re.search(found, sentence(command("scripts/predict.py", *given, word)))


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("model.detector.rpn_iou_thresholds=[0.7,0.3]", r"rpn_iou_thresholds=\[0.7, 0.3\]: the first is larger"),
        ("model.detector.backbone=abc", "backbone=abc: no such network"),
        ("model.detector.stage_ious=[0.5]", "stage_ious and stage_box_weights describe the same stages"),
        ("model.detector.class_agnostic_boxes=false", "class_agnostic_boxes must be true in a cascade"),
    ],
)
def test_detector_setting_has_its_full_name(
    command: Command, scenes: tuple[Path, Path], setting: str, found: str
) -> None:
    assert re.search(f"error: model.detector.{found}", sentence(train(command, *scenes, setting)))


def test_unknown_features_are_named(command: Command, scenes: tuple[Path, Path]) -> None:
    words = (f"input={scenes[0]}", "output=out", "maskcut=dino_vits8", "maskcut.features.name=abc", "trainer=cpu")
    assert "maskcut.features.name=abc: there is no such feature extractor" in sentence(
        command("scripts/maskcut.py", *words)
    )


def test_missing_folder_is_named(command: Command, scenes: tuple[Path, Path], tmp_path: Path) -> None:
    assert f"{tmp_path}/none" in sentence(train(command, tmp_path / "none", scenes[1]))
    line = sentence(command("scripts/maskcut.py", "input=none", "output=out", "maskcut=patch_descriptors"))
    assert "none" in line


def test_empty_folder_is_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    overrides = (f"input={tmp_path}/empty", f"output={tmp_path}/out", "maskcut=patch_descriptors")
    assert f"{tmp_path}/empty" in sentence(command("scripts/maskcut.py", *overrides))


def test_file_that_is_not_json_is_named(command: Command, scenes: tuple[Path, Path]) -> None:
    scenes[1].write_text("{'images': []")
    line = sentence(train(command, *scenes))
    assert str(scenes[1]) in line
    assert "JSON" in line


def test_unknown_image_id_is_named(command: Command, scenes: tuple[Path, Path]) -> None:
    change(scenes[1], lambda coco: coco["annotations"][0].update(image_id=77))
    line = sentence(train(command, *scenes))
    assert "77" in line
    assert str(scenes[1]) in line


def test_file_without_annotations_is_named(command: Command, scenes: tuple[Path, Path]) -> None:
    change(scenes[1], lambda coco: coco.update(annotations=[]))
    assert str(scenes[1]) in sentence(train(command, *scenes))


def test_missing_initial_weights_name_the_setting(command: Command, scenes: tuple[Path, Path]) -> None:
    line = sentence(train(command, *scenes, "model.init=/no/such.pth"))
    assert "/no/such.pth" in line
    assert "model.init=" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="runs where torch.cuda.is_available() is false")
def test_missing_gpu_names_the_way_out(command: Command, scenes: tuple[Path, Path]) -> None:
    assert "trainer=cpu" in sentence(train(command, *scenes, "trainer=default"))


def test_drop_annotation_without_area(command: Command, scenes: tuple[Path, Path], tmp_path: Path) -> None:
    """Training continues without it."""

    def flatten(coco: dict[str, Any]) -> None:
        coco["annotations"][0].update(bbox=[3, 3, 0, 5], segmentation=[[3, 3, 3, 8, 3, 5]], area=0)

    change(scenes[1], flatten)
    outcome = train(command, *scenes, f"paths.output_dir={tmp_path}/run")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    assert "1 " in outcome.err


@pytest.mark.parametrize("large_hw", [(800, 1200), pytest.param((4000, 6000), marks=pytest.mark.slow)])
def test_images_of_every_kind(
    command: Command, scenes: tuple[Path, Path], tmp_path: Path, large_hw: tuple[int, int]
) -> None:
    """One command over a folder with odd names and files; what cannot be read is listed, the rest is done."""
    assert train(command, *scenes, f"paths.output_dir={tmp_path}/run").code == 0
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    folder = tmp_path / "my photos (1), new"
    shutil.copytree(scenes[0], folder)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "turned.jpg", exif=exif)
    image.convert("RGBA").save(folder / "alpha.png")
    image.convert("L").save(folder / "grey.jpg")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.resize((1, 1)).save(folder / "dot.png")
    image.resize(large_hw[::-1]).save(folder / "large.jpg")
    image.resize((400, 300)).save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:4000])
    out = tmp_path / "out [1]"
    outcome = command(
        "scripts/predict.py", f"checkpoint={checkpoint}", f"input='{folder}'", f"output='{out}'", "trainer=cpu",
        "num_workers=0",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    images = {
        i["file_name"]: (i["height"], i["width"]) for i in json.loads((out / "images.json").read_text())["images"]
    }
    assert images["turned.jpg"] == (60, 40)
    assert images["large.jpg"] == large_hw
    assert set(images) == {p.name for p in folder.iterdir()} - {"dot.png", "cut.jpg"}
    failures = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert [f["file"] for f in failures] == ["cut.jpg", "dot.png"]
    assert {p.name for p in (out / "overlays").iterdir()} == {p if p.endswith(".jpg") else f"{p}.jpg" for p in images}


def test_checkpoint_of_another_model_is_refused(command: Command, scenes: tuple[Path, Path], tmp_path: Path) -> None:
    torch.save({"state_dict": {"fc.weight": torch.zeros(3)}}, tmp_path / "other.ckpt")
    torch.save({"model": {"fc.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    for name in ("other.ckpt", "other.pth"):
        outcome = command(
            "scripts/predict.py", f"checkpoint={tmp_path}/{name}", f"input={scenes[0]}", f"output={tmp_path}/o",
            "trainer=cpu", "model=cascade_mask_rcnn_tiny",
        )  # fmt: skip
        assert f"{tmp_path}/{name}" in sentence(outcome)


@pytest.mark.parametrize(
    ("setting", "group", "said"),
    [
        ("+trainer.strategies=foo", "trainer", "unexpected keyword argument 'strategies'"),
        ("+callbacks.progress.colour=red", "callbacks.progress", "unexpected keyword argument 'colour'"),
    ],
)
def test_constructor_speaks_of_its_group(
    command: Command, scenes: tuple[Path, Path], setting: str, group: str, said: str
) -> None:
    images, annotations = scenes
    outcome = command("train.py", *TINY, f"data.images={images}", f"data.annotations={annotations}", setting)
    assert sentence(outcome).startswith(f"error: {group} cannot be built: ")
    assert said in outcome.err
    assert "Error in call to target" not in outcome.err


def test_group_without_name_is_refused(command: Command) -> None:
    assert "model=null: expected the name of an option of this group" in sentence(
        command("scripts/predict.py", "model=null")
    )
