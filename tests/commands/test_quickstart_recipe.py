"""The main job end to end, as small as it gets: every stage runs, a rerun changes nothing, the page shows it all."""

import json
from pathlib import Path

from .conftest import Command

SMALL = (
    "recipe.train_scenes=5",
    "recipe.test_scenes=3",
    "recipe.steps=2",
    "recipe.steps_round_1=1",
    "recipe.max_images=2",
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
    assert "maskcut=dino_vitb8" in page
    assert page.count("<img") > 3 * 6
    assert f"open {out}/index.html" in outcome.err.splitlines()[-2]

    before = files(out / "stages")
    again = command("scripts/recipe.py", "recipe=quickstart", f"recipe.output='{out}'", *SMALL)
    assert again.code == 0, again.err
    assert again.err.count("finished before, kept") == len(stages)
    assert files(out / "stages") == before
