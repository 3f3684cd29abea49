"""torchvision's own Mask R-CNN, of examples/another_detector.py, behind module, data, average, metrics and writer."""

import json
import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from cutler_pl.data import EvalDataModule, LoaderParams, TrainDataModule, TrainingSet, TrainTransformParams
from cutler_pl.data.augmentation import BatchAugmentation
from cutler_pl.data.copy_paste import CopyPasteParams
from cutler_pl.datasets.scenes import SceneParams, write_scenes
from cutler_pl.models.protocol import AnyDetector
from cutler_pl.training import DetectorModule
from cutler_pl.training.callbacks import CocoEvaluator, EMAWeights, PreciseBatchNorm, PredictionWriter, StepCheckpoint
from cutler_pl.training.optim import sgd

EXAMPLE = Path(__file__).parents[2] / "examples" / "another_detector.py"


@pytest.mark.slow
def test_another_detector_in_every_part(make_trainer: Callable[..., Any], tmp_path: Path) -> None:
    """Its losses are logged, its average is in the checkpoint and is what validation and prediction measure."""
    write_scenes(tmp_path / "images", 2, SceneParams(height=64, width=96), seed=0)
    images, annotations = tmp_path / "images", tmp_path / "annotations.json"
    detector = runpy.run_path(str(EXAMPLE))["TorchvisionMaskRCNN"](min_size=64, max_size=96, box_detections_per_img=9)
    assert isinstance(detector, AnyDetector)
    module = DetectorModule(
        detector,
        optimizer=partial(sgd, lr=0.001, weight_decay=1e-4, per_param_clip_norm=1.0),
        model_config={"category_ids": [1]},
        group_size=2,
    )
    data = TrainDataModule(
        TrainingSet(images=images, annotations=annotations, class_agnostic=True, filter_empty=True),
        transforms=TrainTransformParams(train_sizes=(64,), max_size=96, flip_probability=0.5),
        loader=LoaderParams(batch_size=2, num_workers=0, group_size=2),
        augment=BatchAugmentation(copy_paste=CopyPasteParams()),
        validation=EvalDataModule(images, annotations, num_workers=0),
    )
    writer = PredictionWriter(tmp_path / "predictions.json")
    callbacks = [
        EMAWeights(decay=0.5), PreciseBatchNorm(num_batches=1, every_n_steps=2), writer,
        CocoEvaluator(path=tmp_path / "validation.json", class_agnostic=True),
        StepCheckpoint(tmp_path / "checkpoints", every_n_steps=2, save_top_k=None),
    ]  # fmt: skip
    trainer = make_trainer(callbacks=callbacks, enable_checkpointing=True, limit_val_batches=1.0, max_steps=2)
    trainer.fit(module, datamodule=data)
    assert {"train/loss_mask", "train/loss_box_reg", "val/bbox/AP50", "val/segm/AP50"} <= trainer.logged_metrics.keys()
    content = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    name = "model.network.roi_heads.box_predictor.cls_score.weight"
    assert not torch.equal(content["state_dict"][name], content["current_model_state"][name])

    average = {key.removeprefix("model."): value for key, value in content["state_dict"].items()}
    detector.load_state_dict(average)
    trainer.predict(module, datamodule=EvalDataModule(images, annotations, num_workers=0), return_predictions=False)
    validated = json.loads((tmp_path / "validation.json").read_text())
    assert json.loads(writer.path.read_text()) == validated != []
