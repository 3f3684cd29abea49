"""The benchmark of learning from few labels compares what it says it compares."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def low_label() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("low_label", ROOT / "benchmarks" / "low_label.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
            patch.setenv(name, "1")  # the script sets them for itself; here they go back to what they were
        patch.syspath_prepend(ROOT / "benchmarks")
        patch.setitem(sys.modules, "low_label", module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(autouse=True)
def _hydra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


def scenes_of(low_label: ModuleType, folder: Path) -> Any:
    cfg = compose("recipe", overrides=low_label.recipe_overrides(3, folder / "pretraining", quick=True))
    cfg.recipe.train_scenes, cfg.recipe.test_scenes = 20, 2
    cfg.recipe.stages.data.call.scene.height = cfg.recipe.stages.data.call.scene.width = 32
    return low_label.write_data(cfg, folder / "scenes", percents=[5.0, 20.0])


def test_arms_differ_in_their_start_weights_only(low_label: ModuleType, tmp_path: Path) -> None:
    scenes = low_label.Scenes(tmp_path / "a", tmp_path / "b", tmp_path / "c", {5.0: tmp_path / "d"})
    budget = low_label.Budget(80, 4)
    configs = []
    for init in ("scratch", "made.ckpt"):
        overrides = low_label.arm_overrides(scenes, 5.0, init=init, seed=1, budget=budget, output=tmp_path)
        cfg = compose("train", overrides=low_label.recipe.format_overrides(overrides))
        configs.append(OmegaConf.to_container(cfg, resolve=True))
    scratch, pretrained = configs
    assert scratch["model"].pop("init") == "scratch"
    assert pretrained["model"].pop("init") == "made.ckpt"
    assert scratch == pretrained
    assert scratch["trainer"]["max_steps"] == 80
    assert scratch["trainer"]["val_check_interval"] == 20
    assert scratch["model"]["detector"]["name"] == "cascade_mask_rcnn_r50_fpn"


def test_labelled_subsets_are_nested(low_label: ModuleType, tmp_path: Path) -> None:
    scenes = scenes_of(low_label, tmp_path)
    few, more = ({i["file_name"] for i in json.loads(scenes.labels[p].read_text())["images"]} for p in (5.0, 20.0))
    assert (len(few), len(more)) == (1, 4)
    assert few < more
    assert low_label.digests(scenes.train_images).isdisjoint(low_label.digests(scenes.test_images))
    assert len(list(scenes.train_images.iterdir())) == 20


def test_keep_scenes_of_equal_settings(low_label: ModuleType, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in scenes_of(low_label, tmp_path).train_images.iterdir()}
    assert {p: p.stat().st_mtime_ns for p in scenes_of(low_label, tmp_path).train_images.iterdir()} == before


def test_keep_finished_training(low_label: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed budget trains again."""
    scenes, trained = scenes_of(low_label, tmp_path), []

    def run(cfg: Any) -> None:
        trained.append(cfg.trainer.max_steps)
        logs = Path(cfg.paths.output_dir) / "logs" / "version_0"
        logs.mkdir(parents=True)
        header = ",".join(["step", *(f"val/{name}" for name in low_label.METRICS)])
        (logs / "metrics.csv").write_text(f"{header}\n1,1,2,3,4\n3,5,6,7,8\n")

    monkeypatch.setattr(low_label.train, "run", run)
    for steps in (4, 4, 8):
        arm = {"init": "scratch", "seed": 0, "budget": low_label.Budget(steps, 2), "folder": tmp_path / "arm"}
        result = low_label.train_arm(scenes, 5.0, "scratch", **arm)
    assert trained == [4, 8]
    assert result.points["bbox/AP50"] == {"2": 2.0, "4": 6.0}
