"""One of the processes of `test_ddp.py`: trains, validates and predicts, and writes down what it has seen.

Usage, one per rank, by `forked.run_ranks`: `ddp_worker.py <output folder> <ground truth>`.
"""

import json
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parent))
from conftest import Meta, StandIn, StandInData, make_batch

from cutler_pl.training import DetectorModule
from cutler_pl.training.callbacks import CocoEvaluator, PreciseBatchNorm, PredictionWriter, StepCheckpoint
from cutler_pl.training.optim import sgd
from cutler_pl.training.schedules import warmup_multistep_lr

NAN_STEP = 2
IMAGES = 5


class NanOnOneRank(StandIn):
    """The loss of rank 1 is not a number in one step."""

    def forward(self, images: Any, targets: Any = None) -> Any:
        result = super().forward(images, targets)
        if targets is not None and torch.is_grad_enabled():
            self.calls = getattr(self, "calls", -1) + 1
            if self.calls == NAN_STEP and torch.distributed.get_rank() == 1:
                result["loss_cls"] = result["loss_cls"] * float("nan")
        return result


class SharedOut(StandInData):
    """Image i belongs to rank i modulo the number of ranks; an image more on rank 0."""

    def predict_dataloader(self) -> DataLoader[Any]:
        batches = []
        for image_id in range(1 + self.trainer.global_rank, IMAGES + 1, self.trainer.world_size):
            images, _ = make_batch(9, image_id, size=1)
            batches.append((images, [Meta(image_id, f"{image_id}.jpg", 8, 8)]))
        return DataLoader(batches, batch_size=None)


class Weights(L.Callback):
    """The first weights after every step."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.seen.append(pl_module.model.conv.weight.detach().flatten()[:3].tolist())


def main(output: Path, ground_truth: Path) -> None:
    warnings.filterwarnings("error")
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`")
    torch.set_num_threads(1)
    module = DetectorModule(
        NanOnOneRank(),
        optimizer=partial(sgd, lr=0.05, weight_decay=1e-4, per_param_clip_norm=1.0),
        scheduler=partial(warmup_multistep_lr, max_steps=4, milestones=[3], warmup_steps=1),
    )
    weights = Weights()
    callbacks = [
        weights,
        PreciseBatchNorm(num_batches=3, every_n_steps=4),
        CocoEvaluator(annotations=ground_truth, path=output / "val.json", metrics=("AR100",)),
        PredictionWriter(output / "predictions.json"),
        StepCheckpoint(output / "checkpoints", every_n_steps=4),
    ]
    trainer = L.Trainer(
        accelerator="cpu", devices=2, strategy=DDPStrategy(process_group_backend="gloo", find_unused_parameters=False),
        max_steps=4, max_epochs=-1, val_check_interval=4, check_val_every_n_epoch=None, num_sanity_val_steps=0,
        log_every_n_steps=1, use_distributed_sampler=False, enable_model_summary=False, enable_progress_bar=False,
        logger=False, callbacks=callbacks, default_root_dir=output,
    )  # fmt: skip
    data = SharedOut(validation=True)
    trainer.fit(module, datamodule=data)
    statistics = [module.model.norm.running_mean.tolist(), module.model.norm.running_var.tolist()]
    conv = module.model.conv.weight.detach().tolist()
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    trainer.predict(module, datamodule=data, return_predictions=False)
    seen = {
        "weights": weights.seen,
        "nonfinite_steps": module.nonfinite_steps,
        "statistics": statistics,
        "conv": conv,
        "metrics": metrics,
    }
    (output / f"rank_{trainer.global_rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
