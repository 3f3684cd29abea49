"""The real parts together: a tiny detector, generated scenes, callbacks; training, resuming, predicting."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import pytest
import torch

from cutler_pl.data import (
    BatchAugmentation,
    CopyPasteParams,
    EvalDataModule,
    LoaderParams,
    TrainDataModule,
    TrainingSet,
    TrainTransformParams,
)
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.evaluation import evaluate_coco
from cutler_pl.models import Detector, build_detector
from cutler_pl.models.checkpoint import detector_config, load_detector
from cutler_pl.training import DetectorModule
from cutler_pl.training.callbacks import PreciseBatchNorm, PredictionWriter, StepCheckpoint
from cutler_pl.training.optim import sgd
from cutler_pl.training.schedules import warmup_multistep_lr

Make = Callable[..., Any]
STEPS = 10
TINY: dict[str, Any] = {
    "backbone": "resnet18",
    "fpn_channels": 16,
    "anchor_sizes": (8, 16, 32, 64, 128),
    "rpn_batch_per_image": 32,
    "rpn_pre_nms_train": 60,
    "rpn_pre_nms_test": 40,
    "rpn_post_nms_train": 60,
    "rpn_post_nms_test": 40,
    "roi_batch_per_image": 24,
    "box_head_dim": 32,
    "mask_head_channels": 16,
    "mask_head_convs": 1,
    "max_detections": 10,
    "min_size_test": 64,
    "max_size_test": 96,
}


class Scenes(NamedTuple):
    images: Path
    annotations: Path


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    root = tmp_path_factory.mktemp("scenes")
    write_scenes(root / "images", 5, SceneParams(height=64, width=80, max_objects=2), seed=1)
    return Scenes(root / "images", root / "annotations.json")


def tiny_detector() -> Detector:
    torch.manual_seed(5)
    return build_detector("cascade_mask_rcnn_r50_fpn", **TINY)


def tiny_module() -> DetectorModule:
    model = tiny_detector()
    return DetectorModule(
        model,
        optimizer=partial(sgd, lr=0.01, weight_decay=1e-4, per_param_clip_norm=1.0),
        scheduler=partial(warmup_multistep_lr, max_steps=STEPS, milestones=[8], warmup_steps=4),
        model_config=detector_config(model, category_ids=[1], class_names=["fg"]),
        seed=3,
    )


def train(make_trainer: Make, scenes: Scenes, folder: Path, *, resume: Path | None = None) -> DetectorModule:
    """Train in `folder`; measure statistics and write a checkpoint at steps 4, 8 and 10."""
    data = TrainDataModule(
        TrainingSet(images=scenes.images, annotations=scenes.annotations, class_agnostic=True, filter_empty=True),
        transforms=TrainTransformParams(train_sizes=(48, 64), max_size=96, flip_probability=0.5),
        loader=LoaderParams(batch_size=2, num_workers=0),
        augment=BatchAugmentation(copy_paste=CopyPasteParams()),
        seed=2,
    )
    data.check()
    callbacks: list[L.Callback] = [
        PreciseBatchNorm(num_batches=2, every_n_steps=4),
        StepCheckpoint(folder, every_n_steps=4, save_top_k=None),
    ]
    module = tiny_module()
    trainer = make_trainer(max_steps=STEPS, callbacks=callbacks, enable_checkpointing=True)
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True if resume else None)
    assert trainer.global_step == STEPS
    return module


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def trained(make_trainer: Make, scenes: Scenes, whole_run: Path) -> Path:
    """Folder of an uninterrupted run, made once."""
    if not (whole_run / "last.ckpt").exists():
        train(make_trainer, scenes, whole_run)
    return whole_run


def load(path: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


def test_resumed_run_equals_uninterrupted(make_trainer: Make, scenes: Scenes, trained: Path, tmp_path: Path) -> None:
    train(make_trainer, scenes, tmp_path, resume=trained / "step_0000004.ckpt")
    for name in ("step_0000008.ckpt", "step_0000010.ckpt"):
        whole, resumed = load(trained / name), load(tmp_path / name)
        assert whole["state_dict"].keys() == resumed["state_dict"].keys()
        for key, value in whole["state_dict"].items():
            assert torch.equal(value, resumed["state_dict"][key]), key
        first, second = (c["optimizer_states"][0]["state"] for c in (whole, resumed))
        assert all(torch.equal(first[i]["momentum_buffer"], second[i]["momentum_buffer"]) for i in first)
        assert whole["lr_schedulers"] == resumed["lr_schedulers"]
        assert whole["TrainDataModule"] == resumed["TrainDataModule"]
        assert whole["global_step"] == resumed["global_step"]


def test_weights_have_moved_and_every_part_has_learned(trained: Path) -> None:
    before = tiny_detector().state_dict()
    after = load(trained / "last.ckpt")["state_dict"]
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[f"model.{name}"])}
    assert moved == {"backbone", "rpn", "roi_heads"}
    assert all(value.isfinite().all() for value in after.values())


def test_predict_and_evaluate_from_checkpoint(
    make_trainer: Make, scenes: Scenes, trained: Path, tmp_path: Path
) -> None:
    model, metadata = load_detector(trained / "last.ckpt", max_detections=5)
    assert (metadata.category_ids, metadata.class_names, metadata.assumed) == ((1,), ("fg",), False)
    assert model.config.backbone == "resnet18"
    path = tmp_path / "predictions.json"
    data = EvalDataModule(scenes.images, scenes.annotations, batch_size=2, num_workers=0)
    trainer = make_trainer(callbacks=[PredictionWriter(path)])
    trainer.predict(DetectorModule(model), datamodule=data, return_predictions=False)
    records = json.loads(path.read_text())
    assert records
    assert all(len([r for r in records if r["image_id"] == image_id]) <= 5 for image_id in range(1, 6))
    metrics = evaluate_coco(scenes.annotations, path)
    assert 0 <= metrics["segm"]["AR100"] <= 100


def test_the_restored_detector_has_the_trained_weights(trained: Path) -> None:
    model, _ = load_detector(trained / "last.ckpt")
    stored = load(trained / "last.ckpt")["state_dict"]
    assert all(torch.equal(value, stored[f"model.{name}"]) for name, value in model.state_dict().items())
