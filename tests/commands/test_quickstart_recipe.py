"""The main job end to end, as small as it gets: every stage runs, a rerun changes nothing, the page shows it all."""

import json
from pathlib import Path

import pytest
import timm
import torch
import yaml

from .conftest import Command

SMALL = (
    "recipe.train_scenes=5",
    "recipe.test_scenes=3",
    "recipe.steps=2",
    "recipe.steps_round_1=1",
)


def files(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_quickstart_from_images_to_page(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out (1), new"
    outcome = command("scripts/recipe.py", "recipe=quickstart", f"recipe.output='{out}'", *SMALL)
    assert outcome.code == 0, outcome.err
    stages = sorted(p.name for p in (out / "stages").iterdir())
    assert stages == [
        "1_data",
        "2_maskcut",
        "3_train",
        "4_maskcut_test",
        "5_predict",
        "6_self_train",
        "7_train_round_1",
        "8_predict_round_1",
        "9_page",
    ]
    results = json.loads((out / "results.json").read_text())
    assert list(results) == ["pseudo-masks", "detector", "detector, self-trained"]
    assert all(0 <= results[name][kind]["AP50"] <= 100 for name in results for kind in ("bbox", "segm"))
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "They group regions" in page
    assert page.count("<img") > 3 * 6
    assert f"open {out}/index.html" in outcome.err.splitlines()[-2]

    before = files(out / "stages")
    again = command("scripts/recipe.py", "recipe=quickstart", f"recipe.output='{out}'", *SMALL)
    assert again.code == 0, again.err
    assert again.err.count("finished before, kept") == len(stages)
    assert files(out / "stages") == before


@pytest.mark.slow
def test_same_seed_gives_same_numbers(command: Command, tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        outcome = command("scripts/recipe.py", "recipe=quickstart", f"recipe.output={tmp_path / name}", *SMALL)
        assert outcome.code == 0, outcome.err
        predictions = tmp_path / name / "stages" / "8_predict_round_1" / "predictions.json"
        texts.append(((tmp_path / name / "results.json").read_text(), predictions.read_text()))
    assert texts[0] == texts[1]


@pytest.mark.slow
def test_whole_recipe_with_dino_features(command: Command, tmp_path: Path) -> None:
    """Features, weights and settings reach both MaskCut stages and the page, which then has no notice."""
    weights, out = tmp_path / "dino.pth", tmp_path / "out"
    torch.manual_seed(0)
    torch.save(timm.create_model("vit_small_patch16_224.dino", pretrained=False, num_classes=0).state_dict(), weights)
    given = ("maskcut=dino_vits16", f"maskcut.features.weights={weights}", "maskcut.fixed_size=96", "maskcut.tau=0.5")
    outcome = command("scripts/recipe.py", "recipe=quickstart", f"recipe.output={out}", *given, *SMALL)
    assert outcome.code == 0, outcome.err
    for stage in ("2_maskcut", "4_maskcut_test"):
        option = yaml.safe_load((out / "stages" / stage / "config.yaml").read_text())["maskcut"]
        assert (option["features"]["name"], option["fixed_size"], option["tau"]) == ("dino_vits16", 96, 0.5)
        assert option["features"]["weights"] == str(weights)
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "They group regions" not in page
    assert "maskcut=dino_vits16" in page
