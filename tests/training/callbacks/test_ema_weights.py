"""Averaged weights: in checkpoints and validation, with statistics of their own, and resumed exactly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from cutler_pl.training.callbacks import EMAWeights, PreciseBatchNorm, StepCheckpoint
from cutler_pl.training.callbacks.precise_bn import update_statistics

Make = Callable[..., Any]
DECAY = 0.8


class Weights(L.Callback):
    """The weights of the convolution after every step, and in validation."""

    def __init__(self) -> None:
        self.trained: list[Tensor] = []
        self.validated: list[Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.trained.append(pl_module.model.conv.weight.detach().clone())

    def on_validation_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.validated.append(pl_module.model.conv.weight.detach().clone())


@pytest.fixture
def train(make_module: Make, make_trainer: Make, stand_in_data: Make) -> Make:
    def run(folder: Path, resume: Path | None = None, *, average: bool = True, steps: int = 8) -> Weights:
        weights = Weights()
        callbacks = [
            *([EMAWeights(decay=DECAY)] if average else []), weights, PreciseBatchNorm(num_batches=3, every_n_steps=4),
            StepCheckpoint(folder, every_n_steps=4, save_top_k=None),
        ]  # fmt: skip
        trainer = make_trainer(callbacks=callbacks, enable_checkpointing=True, limit_val_batches=1.0, max_steps=steps)
        start = {} if resume is None else {"ckpt_path": resume, "weights_only": True}
        trainer.fit(make_module(), datamodule=stand_in_data(validation=True), **start)
        return weights

    return run


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def test_checkpoint_and_validation_have_the_average(
    train: Make, tmp_path: Path, stand_in: Make, batch_of: Make
) -> None:
    seen = train(tmp_path, steps=4)
    average = seen.trained[0]
    for weights in seen.trained[1:4]:
        average = DECAY * average + (1 - DECAY) * weights
    stored = load(tmp_path / "last.ckpt")
    torch.testing.assert_close(stored["state_dict"]["model.conv.weight"], average)
    torch.testing.assert_close(seen.validated[0], average)
    assert torch.equal(stored["current_model_state"]["model.conv.weight"], seen.trained[3])
    model = stand_in()
    model.load_state_dict({key.removeprefix("model."): value for key, value in stored["state_dict"].items()})
    measured = model.norm.running_var.clone()
    update_statistics(model, [batch_of(2, 0, step) for step in range(3)], lambda b: model(*b), num_batches=3)
    torch.testing.assert_close(model.norm.running_var, measured)


def test_resumed_average_equals_uninterrupted(train: Make, tmp_path: Path) -> None:
    train(tmp_path / "whole")
    train(tmp_path / "parts", tmp_path / "whole" / "step_0000004.ckpt")
    whole, parts = (load(tmp_path / folder / "step_0000008.ckpt") for folder in ("whole", "parts"))
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, parts[key][name]) for name, value in whole[key].items())


def test_averaging_can_end(train: Make, tmp_path: Path) -> None:
    """The training goes on with its own weights, not with the average."""
    train(tmp_path / "a")
    train(tmp_path / "plain", average=False)
    train(tmp_path / "b", tmp_path / "a" / "step_0000004.ckpt", average=False)
    plain, ended = (load(tmp_path / folder / "step_0000008.ckpt")["state_dict"] for folder in ("plain", "b"))
    assert torch.equal(plain["model.conv.weight"], ended["model.conv.weight"])
