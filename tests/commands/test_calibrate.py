"""`cutler calibrate`: the option that it writes is one that `cutler maskcut` takes."""

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands.conftest import Command, sentence
from PIL import Image

from cutler_pl.coco.io import load_coco
from cutler_pl.datasets.scenes import SceneParams, write_scenes

SCRIPT = "scripts/calibrate.py"
SMALL = ["maskcut=patch_descriptors", "maskcut.fixed_size=48", "crf.backend=guided"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes with ground truth."""
    folder = tmp_path_factory.mktemp("scenes, [new]")
    write_scenes(folder / "images", 24, SceneParams(height=64, width=64, min_radius=0.2), seed=3)
    return folder


def words(scenes: Path, output: Path) -> list[str]:
    return [f"images='{scenes / 'images'}'", f"output='{output}'", *SMALL]


def printed_command(err: str) -> list[str]:
    lines = err.splitlines()
    return shlex.split(lines[next(n for n, line in enumerate(lines) if line.endswith("next:")) + 1])


def test_option_and_score_map_are_used(command: Command, scenes: Path, tmp_path: Path) -> None:
    """The printed command runs as it is, with the chosen τ and the map of scores."""
    output = tmp_path / "out, [1]"
    given = [*words(scenes, output), f"annotations='{scenes / 'annotations.json'}'", "values=[0.5]"]
    outcome = command(SCRIPT, *given, "maskcut.num_masks=2", "name=mine")
    assert outcome.code == 0, outcome.err
    record = json.loads((output / "calibration.json").read_text())
    assert [one["value"] for one in record["values"]] == [0.5, 0.8]
    assert record["criterion"] == "mask AP50"
    assert set(record["expected_calibration_error"]) == {"before", "after"}
    option = yaml.safe_load((output / "maskcut/mine.yaml").read_text())
    assert option["defaults"] == ["patch_descriptors", "_self_"]
    assert option.get("tau", 0.8) == record["chosen"]
    assert {key: option[key] for key in ("num_masks", "fixed_size")} == {"num_masks": 2, "fixed_size": 48}
    rows = list(csv.reader((output / "calibration.csv").read_text().splitlines()))
    assert [row[0] for row in rows] == ["maskcut.tau", "0.5", "0.8"]
    assert "maskcut.tau" in outcome.out
    assert (output / "calibration.svg").is_file()
    assert (output / "reliability.svg").is_file()
    program, name, *settings = printed_command(outcome.err)
    assert (program, name) == ("cutler", "maskcut")
    assert "crf.backend=guided" in settings  # as calibrated
    again = command("scripts/maskcut.py", *settings, "num_workers=0", "trainer=cpu")
    assert again.code == 0, again.err
    used = yaml.safe_load((output / "masks/config.yaml").read_text())
    assert used["maskcut"]["tau"] == record["chosen"]
    assert used["maskcut"]["num_masks"] == 2
    special = output / "generator/features/maskcut_mine.yaml"
    found = load_coco(output / "masks/annotations.json").coco["annotations"]
    assert found
    if special.is_file():  # the map is better on the other half
        points = yaml.safe_load(special.read_text())["annotation"]["score_map"]
        assert used["annotation"]["score_map"] == points
        values = [value for _, value in points]
        assert all(min(values) <= one["score"] <= max(values) for one in found)


def test_choose_without_labels(command: Command, scenes: Path, tmp_path: Path) -> None:
    """Several τ are moved together; the generator's own settings for the features stay."""
    output = tmp_path / "out"
    given = [*words(scenes, output), "generator=uniap", "values=[-0.05]", "max_images=8", "generator.min_patches=2"]
    outcome = command(SCRIPT, *given)
    assert outcome.code == 0, outcome.err
    record = json.loads((output / "calibration.json").read_text())
    assert record["criterion"] == "doubt"
    assert record["setting"] == "generator.taus"
    option = yaml.safe_load((output / "generator/features/uniap_calibrated.yaml").read_text())
    assert option["defaults"] == ["uniap_patch_descriptors", "_self_"]
    assert option["generator"].get("taus", [0.94, 0.92, 0.9, 0.88, 0.86]) == record["chosen"]
    _, _, *settings = printed_command(outcome.err)
    composed = command("scripts/maskcut.py", *settings, "--cfg", "job")
    generator = yaml.safe_load(composed.out)["generator"]
    assert generator["taus"] == record["chosen"]
    assert generator["min_patches"] == 2
    assert generator["_target_"].endswith("UniAP")


def test_say_why_it_cannot_calibrate(
    command: Command, scenes: Path, tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    output = tmp_path / "out"
    labels = f"annotations='{scenes / 'annotations.json'}'"
    for number in range(8):
        Image.fromarray(np.full((48, 48, 3), 90, dtype=np.uint8)).save(write_image(f"grey/{number}.png"))
    coco = json.loads((scenes / "annotations.json").read_text())
    sized = tmp_path / "sized.json"
    sized.write_text(json.dumps({**coco, "images": [{**one, "height": 9, "width": 9} for one in coco["images"]]}))
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = [
        (
            [*words(scenes, output), "max_images=8", f"annotations={sized}"],
            "of 64×64 pixels, but image 1 has 9×9 (height×width); repair it",
        ),
        ([f"images={empty}", f"output={output}", *SMALL], "holds no image"),
        ([f"images={tmp_path / 'grey'}", f"output={output}", *SMALL, labels], "none of its 24 images is in"),
        (
            [
                f"images={tmp_path / 'grey'}",
                f"output={output}",
                *SMALL,
                "crf.backend=none",
                "annotation.min_area=0.95",
                "values=[0.5]",
            ],
            "no mask at any of the 2 values",
        ),
        ([*words(scenes, output), "generator=votcut"], "there is no option generator=votcut"),
        ([*words(scenes, output), "name=patch_descriptors"], "is an option of maskcut= already"),
        ([*words(scenes, output), "values=[1.0]"], "gives maskcut.tau=1"),
        ([*words(scenes, output), "metric=AP"], "annotations= is not given"),
    ]
    for given, expected in cases:
        assert expected in sentence(command(SCRIPT, *given))
    assert not output.exists()
