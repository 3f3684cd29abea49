"""Every file of examples/ runs as its first lines say."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from cutler_pl.coco import load_coco
from cutler_pl.commands.hydra_app import launch
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.web.api import ServerOptions, build_app
from tests.api.conftest import checkpoint as checkpoint
from tests.videos import write_video
from tests.web.serving import StubEndpoint, served

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a", "b"):
        pixels = np.random.default_rng(0).integers(0, 60, (60, 80, 3), dtype=np.uint8)
        pixels[20:50, 20:60] = 230
        Image.fromarray(pixels).save(folder / f"{name}.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 1200, "bbox": [20, 20, 40, 30]}
    annotation["segmentation"] = [[20, 20, 60, 20, 60, 50, 20, 50]]
    truth = {"images": [{"id": 1, "file_name": "a.png", "height": 60, "width": 80}], "annotations": [annotation]}
    (tmp_path / "truth.json").write_text(json.dumps({**truth, "categories": [{"id": 1, "name": "thing"}]}))
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`run("detect", checkpoint, …)` gives what the example prints."""

    def run(name: str, *arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_masks_of_a_folder(run, images: Path, tmp_path: Path) -> None:
    printed = run("masks_of_a_folder", images, tmp_path / "out")
    assert printed.startswith("a.png: ")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.jpg", "a.txt", "b.jpg", "b.txt"}


def test_detect(run, checkpoint: Path, images: Path, tmp_path: Path) -> None:
    printed = run("detect", checkpoint, images / "a.png", tmp_path / "out")
    records = json.loads((tmp_path / "out" / "result.json").read_text())
    assert len(printed.splitlines()) == min(5, len(records))
    assert f"{records[0]['score']:.2f}" == printed.split()[0]
    assert (tmp_path / "out" / "result.jpg").exists()


def test_evaluate(run, checkpoint: Path, images: Path, tmp_path: Path) -> None:
    printed = run("evaluate", checkpoint, images, tmp_path / "truth.json")
    assert [line.split(":")[0] for line in printed.splitlines()] == ["bbox", "segm"]
    assert "AR100" in printed


def test_classes(run, tmp_path: Path) -> None:
    write_scenes(tmp_path / "images", 3, SceneParams(min_objects=2), seed=0)
    printed = run("classes", tmp_path / "annotations.json", tmp_path / "images", tmp_path / "out")
    assert "'first kind'" in printed
    classes = json.loads((tmp_path / "out" / "annotations.json").read_text())["categories"]
    assert [one["name"] for one in classes] == ["first kind", "second kind"]


def test_video(run, tmp_path: Path) -> None:
    printed = run("video", "tiny_generated", write_video(tmp_path / "clip.mp4", num_frames=3, sound=None))
    assert [line.split(" at ")[0] for line in printed.splitlines()] == ["frame 1", "frame 2", "frame 3"]


def test_quality_and_labels(run, tmp_path: Path) -> None:
    write_scenes(tmp_path / "images", 3, SceneParams(min_objects=2), seed=0)
    files = (tmp_path / "annotations.json", tmp_path / "images")
    assert "3 of 3 images have a mask" in run("quality", *files, tmp_path / "quality")
    assert (tmp_path / "quality" / "quality.json").exists()
    run("labels", *files, tmp_path / "labels", "yolo", "coco")
    assert (tmp_path / "labels" / "yolo" / "data.yaml").exists()
    assert (tmp_path / "labels" / "coco").exists()


@pytest.fixture
def fresh_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm without its hub: the networks have random weights, which here need to have a shape only."""
    create = timm.create_model

    def create_fresh(name: str, *, pretrained: bool, pretrained_cfg_overlay: None, **options: object) -> object:
        assert pretrained
        torch.manual_seed(0)
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", create_fresh)


@pytest.mark.usefixtures("fresh_timm")
def test_another_backbone(run, images: Path, tmp_path: Path) -> None:
    (images / "b.png").unlink()
    printed = run("another_backbone", "vit_tiny_patch16_224", images, tmp_path / "out")
    assert printed.startswith("a.png: ")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.jpg"]


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_timm")
def test_another_backbone_in_the_command(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/how-to/another-backbone.md has it, with a small network."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    page = (EXAMPLES.parent / "docs" / "how-to" / "another-backbone.md").read_text()
    (command,) = re.findall(r"^PYTHONPATH=examples cutler maskcut (.*?)\n```", page, re.MULTILINE | re.DOTALL)
    words = [word for word in command.replace("\\\n", " ").split() if not word.startswith(("input=", "output="))]
    small = ["maskcut.features.name=vit_tiny_patch16_224", "maskcut.fixed_size=160", "crf.backend=none"]
    launch(
        "maskcut",
        [*words, *small, f"input={images / 'a.png'}", f"output={tmp_path / 'out'}", "num_workers=0", "trainer=cpu"],
    )
    assert {one["file_name"] for one in json.loads((tmp_path / "out" / "annotations.json").read_text())["images"]}


def test_another_dataset(run, images: Path, tmp_path: Path) -> None:
    table, output = tmp_path / "table.csv", tmp_path / "annotations.json"
    rows = [
        "file,left,top,right,bottom",
        "a.png,20,20,60,50",
        "b.png,-5,0,30,90",
        *["b.png,1,1,9,9"] * 9,
        "b.png,5,5,5,9",
    ]
    table.write_text("\n".join(rows))
    assert run("another_dataset", table, images, output) == "2 images, 11 boxes, 1 records skipped\n"
    boxes = [annotation["bbox"] for annotation in load_coco(output).coco["annotations"]]
    assert boxes[:2] == [[20, 20, 40, 30], [0, 0, 30, 60]]


def test_another_generator(run, images: Path, tmp_path: Path) -> None:
    printed = run("another_generator", images, tmp_path / "annotations.json")
    annotations = load_coco(tmp_path / "annotations.json").coco["annotations"]
    assert printed == f"{len(annotations)} masks of 2 images\n"
    first = next(annotation for annotation in annotations if annotation["image_id"] == 1)
    assert first["bbox"] == pytest.approx([20, 20, 40, 30], abs=2)


def test_http_client(run, images: Path, tmp_path: Path) -> None:
    with served(build_app([StubEndpoint()], ServerOptions())) as client:
        address = f"http://127.0.0.1:{client.port}/predict"
        assert run("http_client", address, images / "a.png", "score_threshold=0.5") == "80×60, 0 objects by stub\n"
        (tmp_path / "text.png").write_text("a text")
        for wrong in ((tmp_path / "text.png",), (images / "a.png", "score_threshold=nan")):
            with pytest.raises(SystemExit, match=r"415: the upload|400: score_threshold=nan"):
                run("http_client", address, *wrong)


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_usage_without_arguments(run, name: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(name)
    assert str(caught.value.code).startswith(f"usage: python examples/{name}.py ")
    assert "\n" not in str(caught.value.code)


def test_readme_lists_all() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    assert {f"({path.name})" for path in EXAMPLES.glob("*.py")} <= set(re.findall(r"\(\w+\.py\)", listed))


@pytest.mark.slow
def test_another_detector(run, tmp_path: Path) -> None:
    write_scenes(tmp_path / "images", 2, SceneParams(height=96, width=128), seed=0)
    printed = run("another_detector", tmp_path / "images", tmp_path / "annotations.json", tmp_path / "out", "2", "96")
    assert [line.split(":")[0] for line in printed.splitlines()[-2:]] == ["bbox", "segm"]
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) != []
