"""Every experiment composes, says in its head what it is, and its parts can be built."""

import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torchvision
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cutler_pl.commands import train
from cutler_pl.commands.instantiate import build_detector_from, instantiate_all
from cutler_pl.datasets.catalog import SEMI_PERCENTS
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.errors import ConfigError, DatasetNotFoundError

CONF = Path(__file__).resolve().parents[2] / "conf"
FILES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
PERCENTS = (*SEMI_PERCENTS, 100)
SEMI = [*(f"semi_{percent}pct" for percent in SEMI_PERCENTS), "fully_100pct"]
MOCO = [f"moco_{percent}pct" for percent in PERCENTS]
EXPERIMENTS = [*(name for name in FILES if name not in ("semi", "moco")), *SEMI, *MOCO]
# of the experiments that are not the paper's
QUICK = (
    "quickstart", "quickstart_self_train", "quickstart_self_train_ema", "quickstart_half", "quickstart_half_self_train",
)  # fmt: skip
BATCH_SIZES = {**dict.fromkeys(QUICK, 8), "tiny_generated": 28}
HEAD = ("What:", "Hardware:", "Expected:", "Command:")


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
    if "self_train" in name or name.startswith("moco"):
        needed.append("model.init=scratch")
    if name.startswith(("quickstart", "cuvler_self_train", "few_shot", "tiny_generated")):
        needed += ["data.images=a", "data.annotations=b"]
    return needed


@cache
def experiment(name: str) -> DictConfig:
    """An experiment as it is, for tests that only read it."""
    return compose("train", overrides=["paths.output_dir=/no folder", f"experiment={name}", *given(name)])


@pytest.mark.parametrize("name", FILES)
def test_head_says_what_the_experiment_is(name: str) -> None:
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    assert [key for key in HEAD if f"# {key}" not in text] == []
    assert "not measured" not in text


@pytest.mark.parametrize("name", FILES)
def test_experiment_only_selects_options(name: str) -> None:
    own = OmegaConf.load(CONF / "experiment" / f"{name}.yaml")
    assert set(own) - {"label_percent"} == {"defaults", "name"}
    assert OmegaConf.to_container(own)["name"] in (name, f"{name}_${{label_percent}}pct")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_parts_of_the_experiment_can_be_built(name: str) -> None:
    cfg = experiment(name)
    datamodule = instantiate(cfg.data.datamodule)
    assert datamodule.loader.batch_size == BATCH_SIZES.get(name, 16)
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
    "cutler_fast": UNSUPERVISED | {"gamma": 0.02, "milestones": [20_000], "steps": 40_000},
    **{f"self_train_r{r}": SELF_TRAINED for r in (1, 2, 3)},
    "self_train_ema": SELF_TRAINED | {"lr": 0.01, "decay": 5e-5, "steps": 2000, "ratio": None},
    "cuvler_cascade": UNSUPERVISED | {"milestones": [], "steps": 80_000, "gamma": 0.02},
    "cuvler_self_train": SELF_TRAINED
    | {"lr": 0.05, "milestones": [7400], "steps": 14_800, "gamma": 0.02, "drop": True},
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
RECIPES |= {moco: RECIPES[semi] for moco, semi in zip(MOCO, SEMI, strict=True)}
LABELED = [*SEMI, *MOCO, "few_shot"]


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in BATCH_SIZES])
def test_recipe_page_is_what_the_experiment_composes(name: str) -> None:
    cfg = experiment(name)
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
    assert detector.soft_targets == name.startswith("cuvler")
    if copy_paste is not None:
        assert copy_paste.random_num == (name != "cuvler_self_train")
    mixed = name.startswith(("cutler_cascade", "cutler_fast", "self_train", "cuvler"))
    assert cfg.trainer.precision == ("16-mixed" if mixed else "32-true")
    assert cfg.name == name


def test_missing_imagenet_is_named_first(tmp_path: Path) -> None:
    cfg = composed("experiment=cutler_cascade", "model.init=/no/weights.pth", tmp_path=tmp_path)
    wanted = "/no datasets/imagenet/annotations/imagenet_train_fixsize480_tau0.15_N3.json"
    with pytest.raises(DatasetNotFoundError) as error:
        train.run(cfg)
    message = str(error.value)
    assert wanted in message
    assert "data.annotations=" in message
    assert "cutler quickstart" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", LABELED)
def test_start_weights_and_images_with_labels(name: str) -> None:
    cfg = experiment(name)
    start = ("scratch", False) if name in MOCO else ("cutler_cascade_final.pth", True)
    assert (cfg.model.init, cfg.model.reset_head) == start
    assert not cfg.data.class_agnostic
    if name == "few_shot":
        assert cfg.data.validation is None
        return
    share = "" if name.endswith("_100pct") else f"{cfg.label_percent}perc_"
    assert cfg.data.annotations == f"/no datasets/coco/annotations/{share}instances_train2017.json"
    assert cfg.trainer.val_check_interval == 5000
    assert cfg.data.validation.images == "/no datasets/coco/val2017"
    assert cfg.data.validation.annotations == "/no datasets/coco/annotations/instances_val2017.json"
    assert not cfg.callbacks.coco_evaluator.class_agnostic


def test_percentage_alone_chooses_the_recipe(tmp_path: Path) -> None:
    by_value = composed("experiment=semi", "label_percent=10", tmp_path=tmp_path)
    assert by_value == composed("experiment=semi_10pct", tmp_path=tmp_path)
    unknown = composed("experiment=semi", "label_percent=3", tmp_path=tmp_path)
    with pytest.raises(ConfigError, match=r"label_percent=3.* 1, 2, 5, 10, .*, 100$"):
        train.run(unknown)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("self_train_r1", "stage before"),
        ("quickstart_self_train", "round before"),
        ("moco_1pct", "moco_v2_800ep_pretrain.pth.tar from https://github.com/facebookresearch/moco"),
    ],
)
def test_start_weights_that_the_user_gives(name: str, says: str, tmp_path: Path) -> None:
    cfg = composed(f"experiment={name}", "data.images=a", "data.annotations=b", tmp_path=tmp_path)
    assert OmegaConf.is_missing(cfg.model, "init")
    with pytest.raises(ConfigError, match=rf"model\.init=<file>.*{says}"):
        train.run(cfg)


def test_missing_validation_images_name_the_switch(tmp_path: Path) -> None:
    write_scenes(tmp_path / "set" / "images", 1, SceneParams(height=32, width=32), seed=0)
    data = [f"data.images={tmp_path}/set/images", f"data.annotations={tmp_path}/set/annotations.json"]
    with pytest.raises(DatasetNotFoundError) as error:
        train.run(composed("experiment=semi_1pct", *data, tmp_path=tmp_path))
    message = str(error.value)
    assert "/no datasets/coco/annotations/instances_val2017.json" in message
    assert "set data.validation.annotations=<json>" in message
    assert "data/validation=none" in message
    assert composed("experiment=semi_1pct", "data/validation=none", tmp_path=tmp_path).data.validation is None


def test_moco_file_fills_the_backbone(tmp_path: Path) -> None:
    """FAIR's file has two encoders, a projection head and a queue."""
    body = torchvision.models.resnet50(weights=None).state_dict()
    query = {f"module.encoder_q.{key}": value for key, value in body.items() if not key.startswith("fc.")}
    head = {f"module.encoder_q.fc.{i}.{kind}": torch.zeros(2) for i in (0, 2) for kind in ("weight", "bias")}
    others = {"module.encoder_k.conv1.weight": torch.zeros(2), "module.queue": torch.zeros(2)}
    path = tmp_path / "moco_v2_800ep_pretrain.pth.tar"
    torch.save({"epoch": 800, "arch": "resnet50", "state_dict": {**query, **head, **others}, "optimizer": {}}, path)
    cfg = composed("experiment=moco_1pct", f"model.init='{path}'", tmp_path=tmp_path).model
    model = build_detector_from(cfg, num_classes=80)
    loaded = model.backbone.body.state_dict()
    assert len(loaded) == len(query)
    assert all(torch.equal(loaded[key], body[key]) for key in loaded)


def test_experiment_names_and_seeds_count(tmp_path: Path) -> None:
    """The file wins over train.yaml, the command line over all; in a user's own folder as well."""
    own = tmp_path / "my options" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\ndefaults:\n  - semi_5pct\n\nname: mine\nseed: 7\n")
    search = f"hydra.searchpath=['file://{own.parent}']"
    cfg = composed(search, "experiment=mine", tmp_path=tmp_path)
    assert (cfg.name, cfg.seed, cfg.data.seed, cfg.label_percent) == ("mine", 7, 7, 5)
    cfg = composed(search, "experiment=mine", "name=other", "seed=3", tmp_path=tmp_path)
    assert (cfg.name, cfg.seed) == ("other", 3)
    assert (composed(tmp_path=tmp_path).name, composed(tmp_path=tmp_path).seed) == ("train", 0)
    assert composed("experiment=semi_5pct", "debug=default", tmp_path=tmp_path).name == "debug"


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith(("cutler_", "self_train", "semi"))])
def test_precise_statistics_of_all_recipes_take_200_batches(name: str) -> None:
    """At every interval and at the end: none is so short that fewer would be measured."""
    cfg = experiment(name)
    callback, steps = instantiate(cfg.callbacks.precise_bn), cfg.trainer.max_steps
    assert callback.max_share == 0.1
    every = callback.every_n_steps
    for step in (*range(every, steps, every), steps):
        assert callback.batches_at(step) == 200
        callback.load_state_dict({"measured_at": step})


def test_averaging_comes_before_measuring(tmp_path: Path) -> None:
    cfg = composed("experiment=cutler_cascade", "callbacks=ema", tmp_path=tmp_path)
    assert next(iter(cfg.callbacks)) == "ema"
    assert "ema" not in composed("experiment=cutler_cascade", tmp_path=tmp_path).callbacks
