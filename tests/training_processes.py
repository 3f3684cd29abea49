"""Trainings that differ in the number of processes and of accumulated batches, and what each of them has seen.

Usage, one per rank, by `forked.run_ranks`: `training_processes.py <Run as JSON>`.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import forked
import lightning as L
import torch
from kornia.augmentation import ColorJitter, RandomErasing
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from cutler_pl.data import (
    BatchAugmentation,
    CopyPasteParams,
    LoaderParams,
    StrongView,
    TrainDataModule,
    TrainingSet,
    TrainTransformParams,
)
from cutler_pl.models import Detector, build_detector
from cutler_pl.models.droploss import DropLoss
from cutler_pl.models.proposals import LabeledProposals
from cutler_pl.training import DetectorModule
from cutler_pl.training.callbacks import EMAWeights
from cutler_pl.training.mean_teacher import MeanTeacher
from cutler_pl.training.mean_teacher_params import MeanTeacherParams
from cutler_pl.training.optim import sgd
from cutler_pl.training.schedules import warmup_multistep_lr

SEED = 3
LR = 0.001
"""Low: where weights differ by rounding, the order of a pair of proposals, and so the next draw, may turn."""
TINY: dict[str, Any] = {
    "backbone": "resnet18",
    "norm": "frozen",
    "fpn_channels": 16,
    "anchor_sizes": (8, 16, 32, 64, 128),
    "rpn_batch_per_image": 32,
    "rpn_pre_nms_train": 60,
    "rpn_post_nms_train": 60,
    "roi_batch_per_image": 24,
    "box_head_dim": 32,
    "mask_head_channels": 16,
    "mask_head_convs": 1,
    "min_size_test": 96,
    "max_size_test": 200,
    "classification_weights": DropLoss(),
}
TEACHER = MeanTeacher(
    params=MeanTeacherParams(min_score=0.45, mask_loss=True),
    strong=StrongView(color_jitter=ColorJitter(0.4, 0.4, 0.4, 0.1, p=1.0), erasing={"one": RandomErasing(p=0.7)}),
)
Place = tuple[int, int]
"""Step and place in its global batch."""


@dataclass(frozen=True)
class Run:
    """A training; `steps` are those of the optimizer at its end."""

    images: str
    annotations: str
    output: str
    batch_size: int = 4
    accumulate: int = 1
    processes: int = 1
    steps: int = 4
    norm: str = "frozen"
    resume: str | None = None
    mean_teacher: bool = False

    @property
    def checkpoint(self) -> Path:
        """Of the second step."""
        return Path(self.output) / "middle.ckpt"


@dataclass
class Seen:
    """What a training has seen, of all its ranks."""

    images: dict[Place, tuple[int, int]]
    """Image id and sum of the pixels, augmented."""
    proposals: dict[Place, Tensor]
    """Boxes sampled for the first stage; none with a mean teacher, which calls the model twice."""
    losses: list[dict[str, float]]
    """As logged, by step."""
    updates: Tensor
    """Change of some weights from start to end."""


class Recorder(L.Callback):
    """Writes down images, sampled proposals and logged losses."""

    def __init__(self, model: Detector, checkpoint: Path, *, proposals: bool = True) -> None:
        self.checkpoint = checkpoint
        self.seen = Seen({}, {}, [], torch.zeros(0))
        self._places: list[Place] = []
        losses = model.roi_heads.stages.losses

        def recorded(features: Any, sampled: LabeledProposals, *rest: Any) -> Any:
            for i, place in enumerate(self._places):
                self.seen.proposals[place] = sampled.boxes[sampled.images == i].clone()
            return losses(features, sampled, *rest)

        if proposals:
            model.roi_heads.stages.losses = recorded  # type: ignore[method-assign]

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        images, targets = batch
        part = batch_idx % trainer.accumulate_grad_batches * trainer.world_size + trainer.global_rank
        self._places = [(trainer.global_step, part * len(images) + i) for i in range(len(images))]
        for place, image, target in zip(self._places, images, targets, strict=True):
            self.seen.images[place] = (target["image_id"], int(image.long().sum()))

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if len(self.seen.losses) < trainer.global_step - min(step for step, _ in self.seen.images):
            values = trainer.logged_metrics.items()
            self.seen.losses.append({name: float(value) for name, value in values if "loss" in name})
            if trainer.global_step == 2:
                trainer.save_checkpoint(self.checkpoint, weights_only=False)


def images_of_one_size(data: Path, folder: Path) -> tuple[str, str]:
    """The images of a small real set that have its most frequent size: their folder and annotations."""
    coco = json.loads((data / "coco_mini/annotations/instances_cls_agnostic.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in coco["images"]}
    size = Counter(sizes.values()).most_common(1)[0][0]
    coco["images"] = [image for image in coco["images"] if sizes[image["id"]] == size]
    coco["annotations"] = [a for a in coco["annotations"] if sizes[a["image_id"]] == size and not a["iscrowd"]]
    (folder / "annotations.json").write_text(json.dumps(coco))
    return str(data / "coco_mini/images"), str(folder / "annotations.json")


def train(run: Run) -> Seen:
    """Train in this process, which may be one of several."""
    L.seed_everything(SEED, verbose=False)
    model = build_detector("cascade_mask_rcnn_r50_fpn", **(TINY | {"norm": run.norm}))
    module = DetectorModule(
        model,
        optimizer=partial(sgd, lr=LR, weight_decay=1e-4, per_param_clip_norm=1.0),
        scheduler=partial(warmup_multistep_lr, max_steps=10, milestones=[8], warmup_steps=2, warmup_factor=0.5),
        seed=SEED,
        group_size=2,
        objective=TEACHER if run.mean_teacher else None,
    )
    data = TrainDataModule(
        TrainingSet(images=run.images, annotations=run.annotations, class_agnostic=True, filter_empty=True),
        transforms=TrainTransformParams(train_sizes=(96,), max_size=200, flip_probability=0.5),
        loader=LoaderParams(batch_size=run.batch_size, num_workers=0, group_size=2),
        augment=BatchAugmentation(copy_paste=CopyPasteParams()),
        seed=SEED,
    )
    recorder = Recorder(model, run.checkpoint, proposals=not run.mean_teacher)
    average = [EMAWeights(decay=0.5)] if run.mean_teacher else []
    ddp = DDPStrategy(process_group_backend="gloo", find_unused_parameters=False)
    trainer = L.Trainer(
        accelerator="cpu", devices=run.processes, strategy=ddp if run.processes > 1 else "auto", max_steps=run.steps,
        max_epochs=-1, accumulate_grad_batches=run.accumulate, limit_val_batches=0, log_every_n_steps=1,
        use_distributed_sampler=False, enable_model_summary=False, enable_progress_bar=False, logger=False,
        enable_checkpointing=False, callbacks=[*average, recorder], default_root_dir=run.output,
    )  # fmt: skip
    before = some_weights(model)
    trainer.fit(module, datamodule=data, ckpt_path=run.resume, weights_only=True if run.resume else None)
    recorder.seen.updates = some_weights(model) - before
    return recorder.seen


def some_weights(model: Detector) -> Tensor:
    """The first numbers of each parameter."""
    return torch.cat([parameter.detach().flatten()[:20] for parameter in model.parameters()])


def launch(run: Run) -> Seen:
    """Train in `run.processes` processes; with one, in this one."""
    Path(run.output).mkdir()
    if run.processes == 1:
        return train(run)
    forked.run_ranks(run.processes, Path(__file__), json.dumps(asdict(run)), folder=Path(run.output))
    parts = [Path(run.output) / f"rank_{rank}.pt" for rank in range(run.processes)]
    return join([torch.load(part, weights_only=False) for part in parts])


def join(parts: list[Mapping[str, Any]]) -> Seen:
    """What all ranks together have seen; every rank must have logged the same losses."""
    assert all(part["losses"] == parts[0]["losses"] for part in parts)
    images = {place: image for part in parts for place, image in part["images"].items()}
    proposals = {place: boxes for part in parts for place, boxes in part["proposals"].items()}
    return Seen(dict(sorted(images.items())), dict(sorted(proposals.items())), parts[0]["losses"], parts[0]["updates"])


def main() -> None:
    torch.set_num_threads(1)
    run = Run(**json.loads(sys.argv[1]))
    seen = train(run)
    torch.save(asdict(seen), Path(run.output) / f"rank_{os.environ['LOCAL_RANK']}.pt")


if __name__ == "__main__":
    main()
