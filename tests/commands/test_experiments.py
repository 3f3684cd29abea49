"""Every experiment composes, says in its head what it is, and its parts can be built."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands import train
from cutler_pl.commands.instantiate import instantiate_all
from cutler_pl.errors import DatasetNotFoundError

CONF = Path(__file__).resolve().parents[2] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
HEAD = ("What:", "Table:", "Hardware:", "Time:", "Expected:", "Command:")


@pytest.fixture(autouse=True)
def _hydra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))
    monkeypatch.setenv("DETECTRON2_DATASETS", "/no datasets")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(*overrides: str, tmp_path: Path) -> DictConfig:
    return compose("train", overrides=[f"paths.output_dir='{tmp_path}'", *overrides])


def given(name: str) -> list[str]:
    """The values an experiment leaves to the user."""
    needed = []
    if name.startswith(("self_train", "quickstart_self_train")):
        needed.append("model.init=scratch")
    if name.startswith(("quickstart", "few_shot")):
        needed += ["data.images=a", "data.annotations=b"]
    return needed


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_head_says_what_the_experiment_is(name: str) -> None:
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    assert [key for key in HEAD if f"# {key}" not in text] == []


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_only_selects_options(name: str) -> None:
    own = OmegaConf.load(CONF / "experiment" / f"{name}.yaml")
    assert set(own) == {"defaults", "name"}
    assert own.name == name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_parts_of_the_experiment_can_be_built(name: str, tmp_path: Path) -> None:
    cfg = composed(f"experiment={name}", *given(name), tmp_path=tmp_path)
    datamodule = instantiate(cfg.data.datamodule)
    assert datamodule.loader.batch_size == (8 if name.startswith("quickstart") else 16)
    with torch.device("meta"):
        model = instantiate(cfg.model.detector)(num_classes=80 if "pct" in name else 1)
    optimizer = instantiate(cfg.optimizer)(model)
    schedule = instantiate(cfg.scheduler)(optimizer)
    assert schedule.optimizer is optimizer
    settings = {k: v for k, v in OmegaConf.to_container(cfg.trainer, resolve=True).items() if k != "_target_"}
    inspect.signature(L.Trainer).bind(**settings)
    assert settings["max_steps"] == cfg.scheduler.max_steps
    assert all(isinstance(callback, L.Callback) for callback in instantiate_all(cfg.callbacks))


UNSUPERVISED = {
    "lr": 0.01, "decay": 5e-5, "heads": 1, "clip": 1.0, "milestones": [80_000], "steps": 160_000,
    "drop": True, "ratio": 0.3, "post": 4000, "nms": 0.65, "score": 0.0,
}  # fmt: skip
SELF_TRAINED = {
    "lr": 0.005, "decay": 1e-4, "heads": 1, "clip": 1.0, "milestones": [], "steps": 80_000, "gamma": 1.0,
    "drop": False, "ratio": 0.5, "post": 1000, "nms": 0.7, "score": 0.0,
}  # fmt: skip


def with_labels(lr: float, milestones: list[int], steps: int, heads: int) -> dict[str, Any]:
    return {
        "lr": lr, "decay": 1e-4, "heads": heads, "clip": None, "milestones": milestones, "steps": steps, "gamma": 0.1,
        "drop": False, "ratio": None, "post": 2000, "nms": 0.7, "score": 0.05,
    }  # fmt: skip


RECIPES = {  # the only place in the tests where the recipe page's numbers stand
    "cutler_cascade": UNSUPERVISED | {"gamma": 0.02},
    "cutler_mask_rcnn": UNSUPERVISED | {"gamma": 0.1},
    **{f"self_train_r{r}": SELF_TRAINED for r in (1, 2, 3)},
    "semi_1pct": with_labels(0.04, [2400, 3200], 3600, 4),
    "semi_2pct": with_labels(0.04, [2400, 3200], 3600, 4),
    "semi_5pct": with_labels(0.04, [3000, 4000], 4500, 4),
    "semi_10pct": with_labels(0.04, [6000, 8000], 9000, 4),
    "semi_20pct": with_labels(0.04, [12000, 16000], 18000, 4),
    "semi_30pct": with_labels(0.04, [18000, 24000], 27000, 4),
    "semi_40pct": with_labels(0.04, [24000, 32000], 36000, 4),
    "semi_50pct": with_labels(0.02, [30000, 40000], 45000, 2),
    "semi_60pct": with_labels(0.02, [36000, 48000], 54000, 2),
    "semi_80pct": with_labels(0.02, [48000, 64000], 72000, 2),
    "fully_100pct": with_labels(0.02, [60000, 80000], 90000, 2),
    "few_shot": with_labels(0.04, [2400, 3200], 3600, 4),
}
LABELED = [name for name in RECIPES if name.endswith("pct") or name == "few_shot"]


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if not name.startswith("quickstart")])
def test_recipe_page_is_what_the_experiment_composes(name: str, tmp_path: Path) -> None:
    cfg = composed(f"experiment={name}", *given(name), tmp_path=tmp_path)
    solver, schedule, detector, copy_paste = cfg.optimizer, cfg.scheduler, cfg.model.detector, cfg.augment.copy_paste
    assert {
        "lr": solver.lr,
        "decay": solver.weight_decay,
        "heads": solver.head_lr_multiplier,
        "clip": solver.per_param_clip_norm,
        "milestones": list(schedule.milestones),
        "steps": cfg.trainer.max_steps,
        "gamma": schedule.gamma,
        "drop": detector.classification_weights is not None,
        "ratio": None if copy_paste is None else copy_paste.ratio_min,
        "post": detector.rpn_post_nms_train,
        "nms": detector.rpn_nms_threshold,
        "score": detector.score_threshold,
    } == RECIPES[name]


def test_missing_imagenet_is_named_first(tmp_path: Path) -> None:
    cfg = composed("experiment=cutler_cascade", "model.init=/no/weights.pth", tmp_path=tmp_path)
    wanted = "/no datasets/imagenet/annotations/imagenet_train_fixsize480_tau0.15_N3.json"
    with pytest.raises(DatasetNotFoundError) as error:
        train.run(cfg)
    message = str(error.value)
    assert wanted in message
    assert "data.annotations=" in message
    assert "scripts/quickstart.sh" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", LABELED)
def test_training_with_labels_starts_from_cutler(name: str, tmp_path: Path) -> None:
    cfg = composed(f"experiment={name}", *given(name), tmp_path=tmp_path)
    assert (cfg.model.init, cfg.model.reset_head) == ("cutler_cascade_final.pth", True)
    assert not cfg.data.class_agnostic
    share = "" if name in ("fully_100pct", "few_shot") else f"{name.removeprefix('semi_').removesuffix('pct')}perc_"
    if name != "few_shot":
        assert cfg.data.annotations == f"/no datasets/coco/annotations/{share}instances_train2017.json"


@pytest.mark.parametrize("name", ["semi_10pct", "few_shot"])
def test_training_with_labels_can_be_validated_by_class(name: str, tmp_path: Path) -> None:
    cfg = composed(f"experiment={name}", *given(name), "callbacks=validate", tmp_path=tmp_path)
    assert cfg.trainer.val_check_interval == 5000
    assert cfg.data.validation.annotations == "/no datasets/coco/annotations/instances_val2017.json"
    assert not cfg.callbacks.coco_evaluator.class_agnostic
