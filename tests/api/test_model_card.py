"""Model cards from what runs record: who labelled what, metrics of the very weights, no paths."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cutler_pl import CutLER
from cutler_pl.api.model_card.labels import trace_labels, verdict
from cutler_pl.api.model_card.run_folder import RunFolder, without_paths
from cutler_pl.errors import ConfigError
from cutler_pl.runtime.files import file_digest

RUN = {"commit": "abc123", "packages": {"torch": "2.9", "lightning": "2.6"}, "gpus": ["H100"], "cpu_count": 8}


def write(folder: Path, config: dict[str, Any], **stage: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "run.json").write_text(json.dumps(RUN))
    if stage:
        (folder / "stage.json").write_text(json.dumps({"state": "finished", **stage}))
    return folder


def training(init: str, annotations: str | Path) -> dict[str, Any]:
    return {
        "name": "cutler_cascade",
        "seed": 3,
        "data": {"images": "/data/alice/imagenet/train", "annotations": str(annotations), "batch_size": 16},
        "model": {"init": init},
        "trainer": {"max_steps": 160000},
    }


@pytest.fixture
def recipe(tmp_path: Path, small_checkpoint: Path) -> Path:
    """MaskCut, a training, a round of self-training, an evaluation."""
    root = write(tmp_path / "alice" / "cutler", {"recipe": {}})
    stages = root / "stages"
    coco = {"images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 4}], "annotations": [], "categories": []}
    maskcut = {"maskcut": {"features": {"name": "dino_vitb8"}}, "crf": {}}
    masks = write(stages / "1_masks_0", maskcut, seconds=90, command=f"cutler maskcut input={tmp_path}/alice/set")
    (masks / "annotations.json").write_text(json.dumps(coco))
    first = write(stages / "2_train_0", training("dino_RN50_pretrain_d2_format.pkl", masks / "annotations.json"))
    (first / "checkpoints").mkdir()
    shutil.copy(small_checkpoint, first / "checkpoints" / "last.ckpt")
    merged = {"threshold": 0.7, "annotations": str(masks / "annotations.json")}
    merged |= {"checkpoint": str(first / "checkpoints/last.ckpt")}
    second_masks = write(stages / "3_masks_1", merged)
    (second_masks / "annotations.json").write_text(json.dumps(coco))
    init = str(first / "checkpoints/last.ckpt")
    second = write(stages / "10_train_1", training(init, second_masks / "annotations.json"))
    shutil.copytree(first / "checkpoints", second / "checkpoints")
    results = {"coco": {"bbox": {"AP": 12.34, "AP50": 21.9, "AR100": 32.7, "APs": -1}}}
    evaluated = stages / "11_evaluate"
    (evaluated / "coco").mkdir(parents=True)
    (evaluated / "results.json").write_text(json.dumps(results))
    finished = {"settings": {"checkpoint": file_digest(small_checkpoint)}}
    (evaluated / "coco" / "finished.json").write_text(json.dumps(finished))
    return root


def card_of(source: Path, tmp_path: Path, **options: Any) -> str:
    folder = CutLER.from_pretrained(source, device="cpu").save_pretrained(tmp_path / "card", **options)
    return (folder / "README.md").read_text(encoding="utf-8")


def test_card_of_a_recipe(recipe: Path, tmp_path: Path) -> None:
    """Its folder is the source; the last training is taken, 10 after 2."""
    card = card_of(recipe, tmp_path)
    assert "No part of this detector saw human labels." in card
    rows = [
        "| Start weights | DINO on ImageNet without its labels | no |",
        "| Features of MaskCut, dino_vitb8 | DINO on ImageNet without its labels | no |",
        "| Masks | MaskCut on the training images | no |",
        "| Masks of a round of self-training | predictions of the detector before | no |",
        "| Metrics below | the annotations of each dataset | to measure only |",
    ]
    assert [row for row in rows if card.count(row) != 1] == []
    assert "| coco | box | 12.3 | 21.9 |  | 32.7 |" in card
    assert "| steps | 160000 |" in card
    assert "| images | train, 1 images |" in card
    assert "| masks_0 | `cutler maskcut input=set` | 1.5 |" in card
    assert "trained with commit abc123, torch 2.9, lightning 2.6, on H100" in card
    assert "states no licence" in card
    metadata = yaml.safe_load(card.split("---")[1])
    (entry,) = metadata["model-index"]
    assert {metric["value"] for metric in entry["results"][0]["metrics"]} == {12.34, 21.9, 32.7}
    assert str(tmp_path) not in card
    assert "alice" not in card
    assert "photo" not in card


def test_moved_recipe_is_followed(recipe: Path, tmp_path: Path) -> None:
    moved = recipe.rename(tmp_path / "moved")
    assert "| Masks | MaskCut on the training images | no |" in card_of(moved, tmp_path)


def test_checkpoint_of_a_run_finds_its_run(recipe: Path, tmp_path: Path) -> None:
    card = card_of(recipe / "stages/2_train_0/checkpoints/last.ckpt", tmp_path)
    assert "| Masks | MaskCut on the training images | no |" in card
    assert "self-training |" not in card


@pytest.mark.parametrize(
    ("change", "part", "labels"),
    [
        ({"init": "cutler_semi_10perc"}, "10 % of COCO train2017", True),
        ({"init": "scratch"}, "random numbers", False),
        ({"init": "/data/alice/mine.pth"}, "`mine.pth`: not recorded", None),
        ({"annotations": "/d/instances_train2017.json"}, "labels of coco_100", True),
        ({"annotations": "/d/10perc_instances_train2017.json"}, "labels of coco_semi_10", True),
        ({"annotations": "/d/cutler_imagenet1k_train_r1.json"}, "released by CutLER's authors", False),
        ({"annotations": "/d/own.json"}, "`own.json`: nothing beside the file says who made it", None),
    ],
)
def test_labels_of_each_kind(change: dict[str, str], part: str, labels: bool | None, tmp_path: Path) -> None:
    given = {"init": "scratch", "annotations": "/d/cutler_imagenet1k_train_r1.json"} | change
    parts = trace_labels(RunFolder(tmp_path, training(**given)))
    (found,) = [one for one in parts if part in one.learned.source]
    assert found.learned.labels is labels
    expected = {True: "Human labels were used", False: "No part of this detector saw", None: "not recorded"}
    assert expected[labels] in verdict(parts)
    assert verdict([]) == "Whether a part of this detector saw human labels is not recorded."


def test_converted_and_named_annotations(tmp_path: Path) -> None:
    """prepare_dataset converts people's labels; people name the clusters of discover."""
    (tmp_path / "voc.json").write_text("{}")
    write(tmp_path / "voc_report", {"name": "voc"})
    parts = trace_labels(RunFolder(tmp_path, training("scratch", tmp_path / "voc.json")))
    assert ("the labels of voc", True) in [part.learned for part in parts]
    named = write(tmp_path / "kinds", {"names": "clusters.yaml", "annotations": "/d/cutler_imagenet1k_train_r1.json"})
    (named / "annotations.json").write_text("{}")
    parts = trace_labels(RunFolder(tmp_path, training("scratch", named / "annotations.json")))
    assert [part.learned.labels for part in parts] == [False, False, True]


def test_metrics_of_other_weights_are_refused(recipe: Path, tmp_path: Path) -> None:
    evaluated = recipe / "stages/11_evaluate"
    finished = {"settings": {"checkpoint": "0" * 64}}
    (evaluated / "coco" / "finished.json").write_text(json.dumps(finished))
    assert "Not measured." in card_of(recipe, tmp_path)
    with pytest.raises(ConfigError, match="these metrics are of another checkpoint than"):
        card_of(recipe, tmp_path, evaluation=evaluated)
    with pytest.raises(ConfigError, match=r"holds no results\.json of cutler evaluate"):
        card_of(recipe, tmp_path, evaluation=tmp_path)
    with pytest.raises(ConfigError, match="holds no training"):
        card_of(recipe, tmp_path, run=tmp_path)


def damage(file: str, content: str) -> Callable[[Path], object]:
    return lambda root: (root / "stages/10_train_1" / file).write_text(content)


@pytest.mark.parametrize(
    "spoil",
    [
        damage("config.yaml", "{"),
        damage("config.yaml", "[]"),
        damage("config.yaml", "data: 5"),
        damage("run.json", "["),
    ],
)
def test_damaged_records(recipe: Path, tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(recipe)
    assert "# card" in card_of(recipe, tmp_path)


def test_folder_of_something_else_stays(small_checkpoint: Path, tmp_path: Path) -> None:
    model = CutLER.from_pretrained(small_checkpoint, device="cpu")
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds README\.md of something else; choose another folder"):
        model.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds the files of something else"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_hostile_texts_stay_in_their_cell(recipe: Path, tmp_path: Path) -> None:
    """A setting with columns, line breaks and HTML."""
    config = training("scratch", "/d/own.json") | {"name": "a | b\n# Head <script>alert(1)</script>"}
    (recipe / "stages/10_train_1/config.yaml").write_text(yaml.safe_dump(config))
    card = card_of(recipe, tmp_path)
    assert "\n# Head" not in card
    assert "<script>" not in card


def test_paths_are_cut() -> None:
    command = "cutler train 'data.images=/data/alice/my set' data.index=[/a/b,/c/d] x={y: /e/f} z=timm/a"
    assert without_paths(command) == "cutler train data.images=my set data.index=[b,d] x={y: f} z=timm/a"
