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
from cutler_pl.training.callbacks import CocoEvaluator, PreciseBatchNorm, StepCheckpoint, precise_bn
from cutler_pl.training.optim import sgd

CONF = Path(__file__).resolve().parents[2] / "conf"


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


class Layers(nn.Module):
    """A weight, a bias, a normalisation, and a last layer of a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.roi_heads = nn.ModuleDict({"cls_score": nn.Linear(2, 1)})


def options(*overrides: str, label_percent: int = 10) -> DictConfig:
    """Some groups alone, with the values they point to elsewhere."""
    overrides = ("+label_schedule=coco", f"+label_percent={label_percent}", *overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(overrides=["+name=test", "+seed=0", "+paths.root_dir=root", "+paths.output_dir=out", *overrides])


def trained_by(optimizer: str, scheduler: str, *, label_percent: int = 10) -> tuple[torch.optim.SGD, Any]:
    cfg = options(f"+optimizer={optimizer}", f"+scheduler={scheduler}", label_percent=label_percent)
    built = instantiate(cfg.optimizer)(Layers())
    return built, instantiate(cfg.scheduler)(built)


@pytest.mark.parametrize("name", names("optimizer"))
def test_optimizers_follow_their_options(name: str) -> None:
    optimizer, _ = trained_by(name, "cutler_cascade")
    cfg = options(f"+optimizer={name}").optimizer
    groups = {(g["initial_lr"], g["weight_decay"]) for g in optimizer.param_groups}
    heads = (cfg.lr * cfg.head_lr_multiplier, cfg.weight_decay)
    assert groups == {(cfg.lr, cfg.weight_decay), (cfg.lr, 0.0), heads}
    assert all(g["per_param_clip_norm"] == cfg.per_param_clip_norm for g in optimizer.param_groups)
    assert all((g["momentum"], g["nesterov"]) == (0.9, False) for g in optimizer.param_groups)


@pytest.mark.parametrize("name", names("scheduler"))
def test_trainers_take_the_length_of_their_schedule(name: str) -> None:
    _, schedule = trained_by("cutler", name)
    cfg = options(f"+scheduler={name}", "+trainer=cpu")
    settings = schedule.lr_lambdas[0].keywords
    assert settings == {k: cfg.scheduler[k] for k in ("milestones", "gamma", "warmup_steps", "warmup_factor")}
    if not name.startswith(("quickstart", "tiny")):
        assert (settings["warmup_steps"], settings["warmup_factor"]) == (1000, 0.001)
    assert cfg.trainer.max_steps == cfg.scheduler.max_steps


@pytest.mark.golden
@pytest.mark.parametrize(
    ("config", "optimizer", "scheduler", "label_percent"),
    [
        ("cascade_imagenet", "cutler", "cutler_cascade", 10),
        ("mask_rcnn_imagenet", "cutler", "cutler_mask_rcnn", 10),
        ("cascade_self_train", "self_train", "self_train", 10),
        ("cascade_semi_1perc", "semi", "semi", 1),
        ("cascade_semi_10perc", "semi", "semi", 10),
    ],
)
def test_options_give_the_originals_learning_rates(
    golden_dir: Path, config: str, optimizer: str, scheduler: str, label_percent: int
) -> None:
    golden = json.loads((golden_dir / "detector/solver.json").read_text())[config]
    built, schedule = trained_by(optimizer, scheduler, label_percent=label_percent)
    for step, expected in golden["lr_at_iter_base_group"].items():
        assert schedule.base_lrs[0] * schedule.lr_lambdas[0](int(step)) == pytest.approx(expected, rel=1e-12), step
    theirs = {(group["lr"], group["weight_decay"]) for group in golden["groups"]}
    assert {(group["initial_lr"], group["weight_decay"]) for group in built.param_groups} == theirs
    clips = golden["optimizer_class"] == "SGDWithGradientClip"
    assert {group["per_param_clip_norm"] for group in built.param_groups} == {1.0 if clips else None}


@pytest.mark.parametrize("name", ["cpu", "ddp_cpu", "debug"])
def test_trainers_of_the_cpu_are_built(name: str, tmp_path: Path) -> None:
    cfg = options("+scheduler=semi", f"+trainer={name}", f"paths.output_dir={tmp_path}", "+trainer.logger=false")
    trainer = instantiate(cfg.trainer, enable_checkpointing=False)
    assert isinstance(trainer, L.Trainer)
    assert trainer.max_steps == (3 if name == "debug" else cfg.scheduler.max_steps)
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
    assert cfg.trainer.max_steps == cfg.scheduler.max_steps
    assert not OmegaConf.missing_keys(cfg)


def test_callbacks_are_those_of_the_recipe(tmp_path: Path) -> None:
    cfg = options(
        "+scheduler=cutler_cascade",
        "+trainer=cpu",
        "+callbacks=default",
        f"paths.output_dir={tmp_path}",
        "+data.class_agnostic=true",
    )
    built = {name: instantiate(entry) for name, entry in cfg.callbacks.items()}
    assert isinstance(built["precise_bn"], PreciseBatchNorm)
    assert (built["precise_bn"].num_batches, built["precise_bn"].every_n_steps) == (200, 5000)
    assert isinstance(built["checkpoint"], StepCheckpoint)
    assert built["checkpoint"].last_path == tmp_path / "checkpoints" / "last.ckpt"
    assert all(isinstance(callback, L.Callback) for callback in built.values())


def test_validation_is_one_option(tmp_path: Path) -> None:
    cfg = options(
        "+data=coco_semi", "data/validation=coco_val2017", "+augment=none", "+scheduler=semi", "+trainer=cpu",
        "+callbacks=default", "+paths.datasets=sets", f"paths.output_dir={tmp_path}",
    )  # fmt: skip
    validation, evaluator = instantiate(cfg.data.datamodule).validation, instantiate(cfg.callbacks.coco_evaluator)
    assert isinstance(validation, EvalDataModule)
    assert isinstance(evaluator, CocoEvaluator)
    assert Path(validation.annotations) == Path("sets/coco/annotations/instances_val2017.json")
    assert Path(validation.images) == Path("sets/coco/val2017")
    assert not evaluator.params.class_agnostic


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


def test_several_loggers_at_once() -> None:
    cfg = options("+scheduler=cutler_cascade", "+trainer=cpu", "+logger=[mlflow,tensorboard]")
    assert set(cfg.logger) == {"csv", "mlflow", "tensorboard"}


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


@pytest.mark.parametrize(("trainer", "synchronised"), [("default", True), ("ddp", True), ("ddp_cpu", False)])
def test_batch_norm_is_synchronised_on_gpus(trainer: str, synchronised: bool, tmp_path: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["experiment=cutler_cascade", f"trainer={trainer}", f"paths.output_dir={tmp_path}"]
        cfg = compose("train", overrides=overrides)
    assert (cfg.trainer.sync_batchnorm, cfg.model.detector.norm) == (synchronised, "bn")


def test_synchronised_layers_are_measured() -> None:
    """Precise batch normalisation and the weight decay of norms know them."""
    layers = torch.nn.SyncBatchNorm.convert_sync_batchnorm(Layers())
    assert type(layers.norm) is nn.SyncBatchNorm
    assert [type(layer) for layer in precise_bn._layers(layers)] == [nn.SyncBatchNorm]
    decays = {g["weight_decay"]: len(g["params"]) for g in sgd(layers, lr=0.1, weight_decay=0.5).param_groups}
    assert decays == {0.5: 4, 0.0: 2}
