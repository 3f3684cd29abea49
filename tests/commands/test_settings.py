from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from cutler_pl.commands.settings import RENAMED
from cutler_pl.runtime.config_tree import config_dir

from .conftest import Command

CONFIG_DIR = config_dir()

COMMAND_OF = {
    "gallery": "evaluate", "labels": "evaluate", "max_failed_share": "maskcut", "max_faulty": "prepare_dataset",
    "original": "make_coco_splits", "photo": "export", "sheet": "prepare_dataset",
}  # fmt: skip


@pytest.mark.parametrize("old", RENAMED)
def test_old_setting_names_the_new(old: str, command: Command) -> None:
    script = COMMAND_OF.get(old) or ("recipe" if old.startswith("recipe.") else "train")
    options = {"recipe": ["recipe=quickstart"], "maskcut": ["maskcut=patch_descriptors"]}.get(script, [])
    if old.startswith("maskcut."):
        script, options = "maskcut", ["maskcut=patch_descriptors"]
    outcome = command("train.py" if script == "train" else f"scripts/{script}.py", *options, f"{old}=1")
    assert outcome.code == 1
    assert f"error: the setting {old!r} is now called {RENAMED[old]!r}" in outcome.err
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        assert compose(script, overrides=[*options, f"{RENAMED[old]}=1"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("callbacks=validate", "data/validation=coco_val2017"),
        ("data=coco_10pct", "experiment=semi label_percent=10"),
        ("scheduler=fully_100pct", "experiment=semi label_percent=100"),
        ("optimizer=semi_high", "experiment=semi label_percent=<percentage>"),
    ],
)
def test_old_option_names_the_new(old: str, new: str, command: Command) -> None:
    outcome = command("train.py", old)
    assert outcome.code == 1
    assert outcome.err.startswith("error: there is no option ")
    assert outcome.err.endswith(f": use {new}\n")


def test_percentage_is_asked_for(command: Command) -> None:
    outcome = command("train.py", "experiment=semi")
    assert outcome.err == "error: label_percent has no value and needs one: add label_percent=<value>\n"


@pytest.mark.parametrize("value", ["my images (1), new/a=b", "it's [here]"])
def test_unquoted_path_says_how_to_quote(value: str, command: Command, tmp_path: Path) -> None:
    outcome = command("scripts/maskcut.py", f"input={value}", f"output={tmp_path}/out", "maskcut=patch_descriptors")
    assert outcome.code == 1
    assert "two pairs of quotes" in outcome.err
    assert "input='" in outcome.err
