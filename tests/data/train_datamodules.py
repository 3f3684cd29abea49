"""A datamodule of a small folder, and a run that records its batches, for the tests of training data."""

from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import nn

from cutler_pl.data import (
    BatchAugmentation,
    CopyPasteParams,
    LoaderParams,
    TrainDataModule,
    TrainingSet,
    TrainTransformParams,
)

COPY_PASTE = BatchAugmentation(copy_paste=CopyPasteParams())


def datamodule(folder: Any, **options: Any) -> TrainDataModule:
    """Datamodule of a small folder; options as in conf/data/folder.yaml."""

    def take(**defaults: Any) -> dict[str, Any]:
        return {name: options.pop(name, value) for name, value in defaults.items()}

    return TrainDataModule(
        TrainingSet(
            **take(
                images=folder.images, annotations=folder.annotations, class_agnostic=True, filter_empty=True,
                max_images=None, index_dir=None,
            )
        ),
        transforms=TrainTransformParams(**take(train_sizes=(20, 32), max_size=60, flip_probability=0.5)),
        loader=LoaderParams(**take(batch_size=2, num_workers=0)),
        **options,
    )  # fmt: skip


class Folder(NamedTuple):
    images: Any
    annotations: Any


class Recorder(L.LightningModule):
    """Keeps a fingerprint of each training batch, and the images it validates on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[int], float, float]] = []
        self.validated: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, targets = batch
        pixels = sum(float(image.float().mean()) for image in images)
        masks = sum(float(target["masks"].float().mean()) for target in targets)
        self.seen.append((self.global_step, [target["image_id"] for target in targets], pixels, masks))
        return self.weight * 0.0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, metas = batch
        assert [image.shape[1:] for image in images] == [(meta.height, meta.width) for meta in metas]
        self.validated += [meta.image_id for meta in metas]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(L.Callback):
    """Saves a checkpoint in the middle of a run, while the loader is some batches ahead."""

    def __init__(self, step: int, path: Path) -> None:
        self.step = step
        self.path = path

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def fit(data: TrainDataModule, module: Recorder, *, steps: int, resume: Path | None = None, **more: Any) -> Recorder:
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
        check_val_every_n_epoch=None, **more,
    )  # fmt: skip
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True if resume else None)
    return module
