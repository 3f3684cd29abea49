"""Half-precision training on a GPU, as the recipes have it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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
from cutler_pl.models import Detector, build_detector
from cutler_pl.models.checkpoint import detector_config, load_detector
from cutler_pl.training import DetectorModule
from cutler_pl.training.callbacks import PreciseBatchNorm, PredictionWriter, StepCheckpoint
from cutler_pl.training.optim import sgd
from cutler_pl.training.schedules import warmup_multistep_lr

Make = Callable[..., Any]
STEPS = 16
BAD_STEP = 12


class Watch(L.Callback):
    """What a step did: the loss, whether weights moved, and the factor of the loss scaler."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.moved: list[bool] = []
        self.scales: list[float] = []
        self.before = torch.zeros(())

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.before = pl_module.model.rpn.head.conv.weight.detach().clone()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.losses.append(float(trainer.callback_metrics["train/loss"]))
        self.moved.append(not torch.equal(self.before, pl_module.model.rpn.head.conv.weight))
        self.scales.append(trainer.precision_plugin.scaler.get_scale())


class NanOnce(DetectorModule):
    """The loss of one step is not a number."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        if self.global_step == BAD_STEP:
            self._losses_finite = torch.zeros_like(self._losses_finite)
            return loss * float("nan")
        return loss


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: runs where torch.cuda.is_available()")
def test_half_precision_trains_and_predicts(make_trainer: Make, tmp_path: Path) -> None:
    """A step that is not finite is dropped."""
    write_scenes(tmp_path / "images", 6, SceneParams(height=160, width=200), seed=1)
    annotations = tmp_path / "annotations.json"
    data = TrainDataModule(
        TrainingSet(images=tmp_path / "images", annotations=annotations, class_agnostic=True, filter_empty=True),
        transforms=TrainTransformParams(train_sizes=(128, 160), max_size=240, flip_probability=0.5),
        loader=LoaderParams(batch_size=4, num_workers=0),
        augment=BatchAugmentation(copy_paste=CopyPasteParams()),
    )
    model: Detector = build_detector(
        "cascade_mask_rcnn_r50_fpn", backbone="resnet18", min_size_test=160, max_size_test=240
    )
    module = NanOnce(
        model,
        optimizer=partial(sgd, lr=0.01, weight_decay=1e-4, per_param_clip_norm=1.0),
        scheduler=partial(warmup_multistep_lr, max_steps=STEPS, milestones=[], warmup_steps=STEPS),
        model_config=detector_config(model, category_ids=[1]),
    )
    watch = Watch()
    callbacks = [watch, PreciseBatchNorm(num_batches=3), StepCheckpoint(tmp_path / "c", every_n_steps=STEPS)]
    trainer = make_trainer(
        accelerator="gpu", precision="16-mixed", max_steps=STEPS, callbacks=callbacks, enable_checkpointing=True
    )
    trainer.fit(module, datamodule=data)
    assert module.nonfinite_steps == 1
    assert not watch.moved[BAD_STEP]
    assert watch.scales[BAD_STEP] == watch.scales[BAD_STEP - 1] / 2
    assert watch.moved[BAD_STEP + 1]
    assert all(value.isfinite().all() for value in module.state_dict().values())
    good = [loss for step, loss in enumerate(watch.losses) if step != BAD_STEP]
    assert sum(good[-3:]) < sum(good[:3])

    restored, _ = load_detector(tmp_path / "c" / "last.ckpt")
    path = tmp_path / "predictions.json"
    predictor = make_trainer(accelerator="gpu", precision="16-mixed", callbacks=[PredictionWriter(path)])
    images = EvalDataModule(tmp_path / "images", annotations, batch_size=2, num_workers=0)
    predictor.predict(DetectorModule(restored), datamodule=images, return_predictions=False)
    records = json.loads(path.read_text())
    assert {record["image_id"] for record in records} <= set(range(1, 7))
    assert records
