"""What hosts read: Cog's description and predictor, and the header of a Space."""

import ast
import importlib.util
import json
import re
import runpy
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from huggingface_hub import SpaceCard
from hydra import compose, initialize_config_dir
from packaging.requirements import Requirement
from PIL import Image

from cutler_pl import cli
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.web.uploads import UploadError

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COG = yaml.safe_load((ROOT / "cog.yaml").read_text(encoding="utf-8"))
SPACE = ROOT / "deploy" / "space"
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
# https://cog.run/yaml: what a key of each part may hold
COG_KEYS = {"build": dict, "predict": str}
BUILD_KEYS = {"gpu": bool, "python_version": str, "python_requirements": str, "environment": list}


@pytest.fixture
def cog(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the module that Cog brings."""

    class BaseModel:
        def __init__(self, **values: Any) -> None:
            self.__dict__.update(values)

    module = ModuleType("cog")
    module.__dict__.update(
        BaseModel=BaseModel, BasePredictor=object, Path=Path, Input=lambda default=None, **rest: default
    )
    monkeypatch.setitem(sys.modules, "cog", module)
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_cog_description_has_known_keys() -> None:
    assert {key: type(value) for key, value in COG.items()} == COG_KEYS
    assert {key: type(value) for key, value in COG["build"].items()} == BUILD_KEYS
    assert re.fullmatch(r"3\.\d+", COG["build"]["python_version"])
    assert COG["build"]["python_version"] in {c.rpartition(" ")[2] for c in PROJECT["classifiers"]}
    assert all(re.fullmatch(r"[A-Z_]+=\S+", entry) for entry in COG["build"]["environment"])


def test_cog_installs_the_dependencies() -> None:
    text = (ROOT / COG["build"]["python_requirements"]).read_text(encoding="utf-8")
    listed = {r.name: r for r in map(Requirement, (line for line in text.splitlines() if not line.startswith("#")))}
    declared = {r.name: r for r in map(Requirement, PROJECT["dependencies"])}
    assert listed.keys() == declared.keys()
    for name, requirement in declared.items():
        if name in ("torch", "torchvision"):
            (pin,) = listed[name].specifier
            assert pin.operator == "=="
            assert requirement.specifier.contains(pin.version)
            assert f"{name}=={pin.version}" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
        else:
            assert listed[name] == requirement


@pytest.mark.parametrize(
    ("task", "model"),
    [("detect", "tiny_generated"), pytest.param("maskcut", "patch_descriptors", marks=pytest.mark.slow)],
)
def test_cog_predicts(cog: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, model: str) -> None:
    path, _, name = COG["predict"].partition(":")
    spec = importlib.util.spec_from_file_location("predict", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for entry in COG["build"]["environment"]:
        monkeypatch.setenv(*entry.split("="))
    monkeypatch.setattr(module.tempfile, "mkdtemp", lambda: tmp_path)
    predictor = getattr(module, name)()
    predictor.setup()
    write_scenes(tmp_path / "images", 1, SceneParams(height=48, width=64), seed=0)
    image = next((tmp_path / "images").iterdir())
    output = predictor.predict(image, task, 0.0, 3)
    answer = json.loads(output.detections.read_text())
    assert (answer["width"], answer["height"], answer["model"]) == (64, 48, model)
    assert 0 < len(answer["detections"]) <= 3
    with Image.open(output.figure) as figure:
        assert figure.size == (64, 48)
    (tmp_path / "text.jpg").write_text("a text")
    with pytest.raises(UploadError):
        predictor.predict(tmp_path / "text.jpg", task, 0.0, 3)


def test_space_has_a_header() -> None:
    data = SpaceCard.load(SPACE / "README.md").data.to_dict()
    assert data["sdk"] == "gradio"
    (gradio,) = (r for r in map(Requirement, PROJECT["optional-dependencies"]["web"]) if r.name == "gradio")
    assert gradio.specifier.contains(data["sdk_version"])
    assert {data["colorFrom"], data["colorTo"]} <= COLORS
    assert data["license"] == PROJECT["license"].lower()
    assert len(data["short_description"]) <= 60
    assert isinstance(data["python_version"], str)
    ast.parse((SPACE / data["app_file"]).read_text(encoding="utf-8"))
    (requirement,) = map(Requirement, (SPACE / "requirements.txt").read_text(encoding="utf-8").splitlines())
    assert requirement.name == PROJECT["name"]
    assert requirement.extras == {"web"}


def test_space_starts_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(cli, "run", lambda name, arguments: started.append((name, arguments)))
    runpy.run_path(str(SPACE / "app.py"))
    ((name, arguments),) = started
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(name, overrides=arguments)
    assert (cfg.checkpoint, cfg.host, cfg.port) == ("tiny_generated", "0.0.0.0", 7860)
