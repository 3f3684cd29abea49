"""The option files of training: the recipe's numbers, and objects that can be built and put together."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig, OmegaConf
from torch import nn

from cutler_pl.data import EvalDataModule
from cutler_pl.training.callbacks import CocoEvaluator, PreciseBatchNorm, StepCheckpoint

CONF = Path(__file__).resolve().parents[2] / "conf"

# lr, weight decay, head multiplier, clipping
OPTIMIZERS = {
    "cutler": (0.01, 5e-5, 1, 1.0),
    "self_train": (0.005, 1e-4, 1, 1.0),
    "semi_high": (0.04, 1e-4, 4, None),
    "semi_low": (0.02, 1e-4, 2, None),
}
# steps down, length, gamma
SCHEDULES = {
    "cutler_cascade": ([80000], 160000, 0.02),
    "cutler_mask_rcnn": ([80000], 160000, 0.1),
    "self_train": ([], 80000, 1.0),
    "semi_1pct": ([2400, 3200], 3600, 0.1),
    "semi_2pct": ([2400, 3200], 3600, 0.1),
    "semi_5pct": ([3000, 4000], 4500, 0.1),
    "semi_10pct": ([6000, 8000], 9000, 0.1),
    "semi_20pct": ([12000, 16000], 18000, 0.1),
    "semi_30pct": ([18000, 24000], 27000, 0.1),
    "semi_40pct": ([24000, 32000], 36000, 0.1),
    "semi_50pct": ([30000, 40000], 45000, 0.1),
    "semi_60pct": ([36000, 48000], 54000, 0.1),
    "semi_80pct": ([48000, 64000], 72000, 0.1),
    "fully_100pct": ([60000, 80000], 90000, 0.1),
}


class Layers(nn.Module):
    """A weight, a bias, a normalisation, and a last layer of a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.roi_heads = nn.ModuleDict({"cls_score": nn.Linear(2, 1)})


def options(*overrides: str) -> DictConfig:
    """Some groups alone, with the values they point to elsewhere."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(overrides=["+name=test", "+seed=0", "+paths.root_dir=root", "+paths.output_dir=out", *overrides])


def trained_by(optimizer: str, scheduler: str) -> tuple[torch.optim.SGD, Any]:
    cfg = options(f"+optimizer={optimizer}", f"+scheduler={scheduler}")
    built = instantiate(cfg.optimizer)(Layers())
    return built, instantiate(cfg.scheduler)(built)


@pytest.mark.parametrize(("name", "values"), OPTIMIZERS.items())
def test_optimizers_have_the_recipes_numbers(name: str, values: tuple[float, float, float, float | None]) -> None:
    lr, decay, multiplier, clipping = values
    optimizer, _ = trained_by(name, "cutler_cascade")
    groups = {(g["initial_lr"], g["weight_decay"]) for g in optimizer.param_groups}
    assert groups == {(lr, decay), (lr, 0.0), (lr * multiplier, decay)}
    assert all(g["per_param_clip_norm"] == clipping for g in optimizer.param_groups)
    assert all((g["momentum"], g["nesterov"]) == (0.9, False) for g in optimizer.param_groups)


@pytest.mark.parametrize(("name", "values"), SCHEDULES.items())
def test_schedules_have_the_recipes_numbers(name: str, values: tuple[list[int], int, float]) -> None:
    milestones, max_steps, gamma = values
    _, schedule = trained_by("cutler", name)
    settings = schedule.lr_lambdas[0].keywords
    assert settings == {"milestones": milestones, "gamma": gamma, "warmup_steps": 1000, "warmup_factor": 0.001}
    cfg = options(f"+scheduler={name}", "+trainer=cpu")
    assert cfg.trainer.max_steps == max_steps


def test_every_schedule_and_optimizer_is_in_the_tables_or_the_quickstarts() -> None:
    def names(group: str) -> set[str]:
        return {path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("quickstart")}

    assert names("optimizer") == set(OPTIMIZERS)
    assert names("scheduler") == set(SCHEDULES)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("config", "optimizer", "scheduler"),
    [
        ("cascade_imagenet", "cutler", "cutler_cascade"),
        ("mask_rcnn_imagenet", "cutler", "cutler_mask_rcnn"),
        ("cascade_self_train", "self_train", "self_train"),
        ("cascade_semi_1perc", "semi_high", "semi_1pct"),
        ("cascade_semi_10perc", "semi_high", "semi_10pct"),
    ],
)
def test_options_give_the_originals_learning_rates(
    golden_dir: Path, config: str, optimizer: str, scheduler: str
) -> None:
    golden = json.loads((golden_dir / "detector/solver.json").read_text())[config]
    built, schedule = trained_by(optimizer, scheduler)
    for step, expected in golden["lr_at_iter_base_group"].items():
        assert schedule.base_lrs[0] * schedule.lr_lambdas[0](int(step)) == pytest.approx(expected, rel=1e-12), step
    theirs = {(group["lr"], group["weight_decay"]) for group in golden["groups"]}
    assert {(group["initial_lr"], group["weight_decay"]) for group in built.param_groups} == theirs
    clips = golden["optimizer_class"] == "SGDWithGradientClip"
    assert {group["per_param_clip_norm"] for group in built.param_groups} == {1.0 if clips else None}


@pytest.mark.parametrize("name", ["cpu", "ddp_cpu", "debug"])
def test_trainers_of_the_cpu_are_built(name: str, tmp_path: Path) -> None:
    cfg = options("+scheduler=semi_10pct", f"+trainer={name}", f"paths.output_dir={tmp_path}", "+trainer.logger=false")
    trainer = instantiate(cfg.trainer, enable_checkpointing=False)
    assert isinstance(trainer, L.Trainer)
    assert trainer.max_steps == (3 if name == "debug" else 9000)
    assert trainer.precision == "32-true"
    assert trainer.check_val_every_n_epoch is None
    assert trainer.gradient_clip_val is None
    torch.autograd.set_detect_anomaly(False)


@pytest.mark.parametrize(
    ("name", "precision"), [("default", "16-mixed"), ("ddp", "16-mixed"), ("full_precision", "32-true")]
)
def test_trainers_of_gpus_have_the_recipes_precision(name: str, precision: str) -> None:
    cfg = options("+scheduler=cutler_cascade", f"+trainer={name}")
    assert cfg.trainer.precision == precision
    assert cfg.trainer.accelerator == "gpu"
    assert cfg.trainer.sync_batchnorm
    assert cfg.trainer.max_steps == 160000
    assert not OmegaConf.missing_keys(cfg)


def test_callbacks_are_those_of_the_recipe(tmp_path: Path) -> None:
    cfg = options("+scheduler=cutler_cascade", "+trainer=cpu", "+callbacks=default", f"paths.output_dir={tmp_path}")
    built = {name: instantiate(entry) for name, entry in cfg.callbacks.items()}
    assert isinstance(built["precise_bn"], PreciseBatchNorm)
    assert (built["precise_bn"].num_batches, built["precise_bn"].every_n_steps) == (200, 5000)
    assert isinstance(built["checkpoint"], StepCheckpoint)
    assert built["checkpoint"].last_path == tmp_path / "checkpoints" / "last.ckpt"
    assert all(isinstance(callback, L.Callback) for callback in built.values())


def test_validation_is_one_option(tmp_path: Path) -> None:
    cfg = options(
        "+data=coco_10pct", "+augment=none", "+scheduler=semi_10pct", "+trainer=cpu", "+callbacks=validate",
        "+paths.datasets=sets", f"paths.output_dir={tmp_path}",
    )  # fmt: skip
    data, evaluator = instantiate(cfg.data.validation), instantiate(cfg.callbacks.coco_evaluator)
    assert isinstance(data, EvalDataModule)
    assert isinstance(evaluator, CocoEvaluator)
    assert (
        Path(data.annotations) == evaluator.metric.ground_truth == Path("sets/coco/annotations/instances_val2017.json")
    )
    assert not evaluator.metric.params.class_agnostic
    assert "checkpoint" in cfg.callbacks
    assert instantiate(cfg.data.datamodule).validation is not None


def test_loggers_write_below_the_output_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    cfg = options("+scheduler=cutler_cascade", "+trainer=cpu", "+logger=mlflow", "paths.root_dir='a (1), b'")
    assert cfg.logger.mlflow.tracking_uri == "sqlite:///a (1), b/outputs/mlflow.db"
    assert cfg.logger.mlflow.run_id_file == "out/mlflow_run_id.txt"
    csv = instantiate(cfg.logger.csv)
    assert isinstance(csv, CSVLogger)
    assert Path(csv.log_dir) == Path("out/logs/version_0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    cfg = options("+scheduler=cutler_cascade", "+trainer=cpu", "+logger=mlflow")
    assert cfg.logger.mlflow.tracking_uri == "http://server:5000"


def test_weights_and_biases_can_be_offline() -> None:
    cfg = options("+scheduler=cutler_cascade", "+trainer=cpu", "+logger=wandb")
    assert set(cfg.logger) == {"csv", "wandb"}
    assert cfg.logger.wandb.offline is False
    assert not options("+logger=none").get("logger")


@pytest.mark.parametrize("name", ["default", "overfit", "profiler"])
def test_debug_options_change_an_experiment(name: str, tmp_path: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["experiment=cutler_cascade", f"debug={name}", f"paths.output_dir={tmp_path}"])
    assert cfg.trainer.max_steps == {"default": 3, "overfit": 200, "profiler": 60}[name]
    assert instantiate(cfg.scheduler) is not None
    if name == "default":
        assert (cfg.trainer.accelerator, cfg.data.num_workers, cfg.data.batch_size) == ("cpu", 0, 2)
    if name == "overfit":
        data = instantiate(cfg.data.datamodule)
        assert data.augment.copy_paste is None
        assert (data.training_set.max_images, data.loader.batch_size) == (2, 2)
    if name == "profiler":
        assert instantiate(cfg.trainer.profiler).dirpath == str(tmp_path)
