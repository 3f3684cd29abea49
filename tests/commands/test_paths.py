"""Every path of every command is checked before the command starts."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf, open_dict

from cutler_pl.commands.paths import PATH_SETTINGS, Kind, PathSetting, check_paths
from cutler_pl.commands.registry import COMMANDS
from cutler_pl.errors import CutlerError
from cutler_pl.runtime.config_tree import config_dir

from .conftest import Command

CASES = [(command, setting) for command, settings in PATH_SETTINGS.items() for setting in settings]
EXTRA = {
    "maskcut": ["maskcut=dino_vits8"],
    "train": ["data=folder", "experiment=quickstart"],
    "recipe": ["recipe=quickstart"],
}
OUTPUTS = (Kind.OUTPUT_FOLDER, Kind.OUTPUT_FILE)


@pytest.fixture
def places(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.fixture(autouse=True)
def _hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


def good_value(places: Path, setting: PathSetting) -> object:
    folder = setting.kind in (Kind.FOLDER, Kind.IMAGES, Kind.ANY)
    path = str(places / ("new/2025" if setting.kind in OUTPUTS else "folder" if folder else "file"))
    return [path] if setting.kind is Kind.LIST else path


def config(places: Path, command: str) -> DictConfig:
    """A command's settings with good paths."""
    cfg = compose(command, overrides=EXTRA.get(command, []))
    with open_dict(cfg):
        for setting in PATH_SETTINGS[command]:
            OmegaConf.update(cfg, setting.name, good_value(places, setting), force_add=True)
    return cfg


def bad_values(places: Path, setting: PathSetting) -> dict[str, object]:
    long = "x" * 256
    values: dict[str, object] = {"number": 0, "bool": True, "list": [["a"]], "empty": "", "long": f"{places}/{long}"}
    values |= {"pipe": f"{places}/pipe", "below a file": f"{places}/file/a", "NUL": "a\0b", "float": 2.5}
    if not setting.optional:
        values["null"] = None
    if setting.kind in OUTPUTS:
        values |= {"device": "/dev/null", "system": "/proc/a"}
    elif setting.kind is not Kind.WEIGHTS:
        values["missing"] = f"{places}/none"
    if setting.kind in (Kind.FOLDER, Kind.OUTPUT_FOLDER):
        values["file"] = f"{places}/file"
    if setting.kind in (Kind.FILE, Kind.WEIGHTS, Kind.OUTPUT_FILE):
        values["folder"] = f"{places}/folder"
    if setting.kind is Kind.LIST:
        return {name: value if name == "number" else [value] for name, value in values.items()}
    return values


def test_every_command_declares_its_paths() -> None:
    assert list(PATH_SETTINGS) == list(COMMANDS)


@pytest.mark.parametrize(("command", "setting"), CASES, ids=lambda value: getattr(value, "name", value))
def test_bad_path_is_named(places: Path, command: str, setting: PathSetting) -> None:
    before = sorted(places.rglob("*"))
    cfg = config(places, command)
    check_paths(command, cfg)
    for name, value in bad_values(places, setting).items():
        with open_dict(cfg):
            OmegaConf.update(cfg, setting.name, value)
        with pytest.raises(CutlerError) as caught:
            check_paths(command, cfg)
        assert setting.name in str(caught.value), name
        assert "\n" not in str(caught.value)
    assert sorted(places.rglob("*")) == before


def test_number_as_name_is_quoted(command: Command) -> None:
    GlobalHydra.instance().clear()
    outcome = command("scripts/predict.py", "checkpoint=a.ckpt", "input=.", "output=2025")
    assert outcome.code == 1
    assert "output=2025: expected a folder to write, found a number" in outcome.err
    assert "\"output='2025'\"" in outcome.err


@pytest.mark.parametrize("script", ["maskcut", "predict"])
def test_output_in_input_is_refused(places: Path, script: str) -> None:
    more = ["checkpoint=a.ckpt"] if script == "predict" else []
    cfg = compose(script, overrides=[f"input={places}", f"output={places}/out", "overlays=true", *more])
    with pytest.raises(CutlerError, match="take the figures for images"):
        check_paths(script, cfg)
    cfg.overlays = False
    check_paths(script, cfg)


def test_self_train_keeps_its_annotations(places: Path) -> None:
    (places / "folder" / "annotations.json").write_text("{}")
    overrides = [f"annotations={places}/folder/annotations.json", f"output={places}/folder", "checkpoint=a.ckpt"]
    with pytest.raises(CutlerError, match="replace its own annotations="):
        check_paths("self_train", compose("self_train", overrides=[*overrides, f"images={places}"]))


def refused(command: str, *overrides: str) -> str:
    with pytest.raises(CutlerError) as caught:
        check_paths(command, compose(command, overrides=[*EXTRA.get(command, []), *overrides]))
    return str(caught.value)


@pytest.mark.parametrize("link", ["same", "symlink", "hard link"])
def test_output_over_input_is_refused(tmp_path: Path, link: str) -> None:
    """A file to be written is no file that is read, under whatever name."""
    source = tmp_path / "source"
    for name in ("config.yaml", "run.json", "annotations.json", "a.pth", "a.onnx"):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text("{}")
    (tmp_path / "images").mkdir()

    def linked(name: str) -> Path:
        output = tmp_path / "out" / name
        source.unlink(missing_ok=True)
        if link == "symlink":
            source.symlink_to(output)
        elif link == "hard link":
            source.hardlink_to(output)
        return output if link == "same" else source

    images = f"images={tmp_path}/images"
    cases = {
        "convert_checkpoint": ["source={}", f"output={tmp_path}/out/a.pth"],
        "export": ["checkpoint={}", f"output={tmp_path}/out/a.onnx"],
        "predict": ["checkpoint={}", f"input={tmp_path}/images", f"output={tmp_path}/out"],
        "self_train": ["annotations={}", "checkpoint=a.ckpt", images, f"output={tmp_path}/out"],
        "evaluate": ["annotations={}", "predictions=null", images, f"output={tmp_path}/out"],
        "merge_shards": ["sources=[{}]", f"output={tmp_path}/out"],
        "prepare_dataset": ["name=coco", "annotations={}", f"output={tmp_path}/out/a.pth"],
        "train": ["data.annotations={}", f"data.{images}", f"paths.output_dir={tmp_path}/out"],
    }
    names = {"predict": "run.json", "self_train": "annotations.json", "evaluate": "config.yaml"}
    names |= {"merge_shards": "annotations.json", "train": "config.yaml", "export": "a.onnx"}
    for command, overrides in cases.items():
        given = linked(names.get(command, "a.pth"))
        sentence = refused(command, *(override.format(given) for override in overrides))
        assert "would replace its own" in sentence, command
        assert "choose another output" in sentence


def test_merging_the_output_again_is_refused(tmp_path: Path) -> None:
    """The folder of the original's JSON files is not the output: the next merge would read it."""
    (tmp_path / "annotations.json").write_text("{}")
    sentence = refused("merge_shards", f"sources=[{tmp_path}]", f"output={tmp_path}")
    assert "one of sources=" in sentence
