import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn

from cutler_pl.errors import ConfigError, TrainingDivergedError
from cutler_pl.training import DetectorModule
from cutler_pl.training.callbacks import StepCheckpoint

Make = Callable[..., Any]


class NonFinite(nn.Module):
    """Wraps a model; its loss, or its gradient alone, is not finite at some steps."""

    def __init__(self, model: nn.Module, steps: Sequence[int], *, gradient_only: bool = False) -> None:
        super().__init__()
        self.inner = model
        self.steps = set(steps)
        self.gradient_only = gradient_only
        self.calls = 0

    def forward(self, images: Any, targets: Any = None) -> Any:
        losses = self.inner(images, targets)
        if self.calls in self.steps:
            # sqrt(0) is finite and its gradient is not
            zero = self.inner.score.weight.sum() * 0
            losses["loss_cls"] = losses["loss_cls"] + (zero.sqrt() if self.gradient_only else zero / zero)
        self.calls += 1
        return losses


class Record(L.Callback):
    """Weights, momentum and learning rate after every step."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self.momenta: list[Tensor | None] = []
        self.rates: list[float] = []
        self.logged: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        (optimizer,) = trainer.optimizers
        weight = dict(pl_module.named_parameters())
        conv = next(p for name, p in weight.items() if name.endswith("conv.weight"))
        momentum = optimizer.state[conv].get("momentum_buffer")
        self.weights.append(conv.detach().clone())
        self.momenta.append(None if momentum is None else momentum.clone())
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.logged.append({name: float(value) for name, value in trainer.logged_metrics.items()})


def test_losses_total_and_learning_rate_are_logged(make_module: Make, make_trainer: Make, stand_in_data: Make) -> None:
    record = Record()
    make_trainer(max_steps=2, callbacks=[record]).fit(make_module(), datamodule=stand_in_data())
    logged = record.logged[0]
    assert logged["train/loss"] == pytest.approx(logged["train/loss_cls"] + logged["train/loss_mask"])
    assert logged["train/lr"] == pytest.approx(0.05 * 0.001)
    assert logged["train/nonfinite_steps"] == 0


@pytest.mark.parametrize("gradient_only", [False, True])
def test_non_finite_step_changes_nothing(
    gradient_only: bool,
    stand_in: Make,
    make_module: Make,
    make_trainer: Make,
    stand_in_data: Make,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Weights and momentum stay."""
    record = Record()
    module = make_module(NonFinite(stand_in(), [2, 3], gradient_only=gradient_only))
    with caplog.at_level(logging.WARNING, "cutler_pl"):
        make_trainer(max_steps=6, callbacks=[record]).fit(module, datamodule=stand_in_data())
    for before, after, moves in [(0, 1, True), (1, 2, False), (2, 3, False), (3, 4, True)]:
        assert torch.equal(record.weights[before], record.weights[after]) is not moves
        first, second = record.momenta[before], record.momenta[after]
        assert first is not None
        assert second is not None
        assert torch.equal(first, second) is not moves
    assert all(weight.isfinite().all() for weight in record.weights)
    assert module.nonfinite_steps == 2
    assert record.logged[-1]["train/nonfinite_steps"] == 2
    assert record.rates[2] > record.rates[1]  # the schedule counts a dropped step
    assert [line.getMessage().split(":")[0] for line in caplog.records] == ["step 2 dropped", "step 3 dropped"]


class InfinitePixels(NonFinite):
    """Some steps see infinite pixels."""

    def forward(self, images: Any, targets: Any = None) -> Any:
        spoilt = self.calls in self.steps
        self.calls += 1
        return self.inner([image * float("inf") for image in images] if spoilt else images, targets)


class Statistics(L.Callback):
    """Running statistics after every step."""

    def __init__(self) -> None:
        self.seen: list[list[Tensor]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.seen.append([buffer.clone() for buffer in pl_module.buffers()])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_dropped_step_leaves_running_statistics(
    accumulate: int, stand_in: Make, make_module: Make, make_trainer: Make, stand_in_data: Make
) -> None:
    """Also those of the other batches of the step; the batch count, too."""
    statistics = Statistics()
    module = make_module(InfinitePixels(stand_in(), [2 * accumulate]))
    trainer = make_trainer(max_steps=4, callbacks=[statistics], accumulate_grad_batches=accumulate)
    trainer.fit(module, datamodule=stand_in_data())
    assert module.nonfinite_steps == 1
    _, before, dropped, after = statistics.seen[accumulate - 1 :: accumulate]
    assert len(before) == 3
    assert all(torch.equal(one, other) for one, other in zip(before, dropped, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(dropped, after, strict=True))
    assert all(buffer.isfinite().all() for buffer in after)


def test_stop_after_consecutive_dropped_steps(
    stand_in: Make, make_module: Make, make_trainer: Make, stand_in_data: Make
) -> None:
    module = make_module(NonFinite(stand_in(), [0, 1, 3, 4, 5, 6]), max_nonfinite_steps=3)
    with pytest.raises(TrainingDivergedError, match=r"in 3 steps in a row up to step 5 \(loss_cls=nan, .*optimizer.lr"):
        make_trainer().fit(module, datamodule=stand_in_data())
    assert module.nonfinite_steps == 5


class _CpuScaler(MixedPrecision):
    """16-bit training's loss scaling without its 16 bits, which the CPU is slow at."""

    def __init__(self, init_scale: float, growth_interval: int = 3) -> None:
        scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, growth_interval=growth_interval)
        super().__init__("16-mixed", "cpu", scaler)

    def autocast_context_manager(self) -> torch.autocast:
        return torch.autocast("cpu", enabled=False)


def fit(make_trainer: Make, module: DetectorModule, data: L.LightningDataModule, **options: Any) -> Record:
    record = Record()
    make_trainer(callbacks=[record], **options).fit(module, datamodule=data)
    return record


def test_clipping_sees_true_gradients_under_a_loss_scaler(
    make_module: Make, make_trainer: Make, stand_in_data: Make
) -> None:
    plain = fit(make_trainer, make_module(per_param_clip_norm=0.01), stand_in_data())
    scaled = fit(make_trainer, make_module(per_param_clip_norm=0.01), stand_in_data(), plugins=[_CpuScaler(1024.0)])
    unclipped = fit(make_trainer, make_module(per_param_clip_norm=None), stand_in_data())
    torch.testing.assert_close(scaled.weights[-1], plain.weights[-1], rtol=1e-6, atol=1e-8)
    assert not torch.allclose(unclipped.weights[-1], plain.weights[-1], rtol=1e-6, atol=1e-8)


def test_loss_scaler_drops_nan_loss(stand_in: Make, make_module: Make, make_trainer: Make, stand_in_data: Make) -> None:
    module = make_module(NonFinite(stand_in(), [2]))
    record = fit(make_trainer, module, stand_in_data(), plugins=[_CpuScaler(1024.0)])
    assert module.nonfinite_steps == 1
    assert torch.equal(record.weights[1], record.weights[2])
    assert not torch.equal(record.weights[2], record.weights[3])


class _Steep(nn.Module):
    """Wraps a model; from the third step on its loss times the largest scale overflows."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = model
        self.calls = 0

    def forward(self, images: Any, targets: Any) -> Any:
        self.calls += 1
        return {name: loss * (8 if self.calls > 2 else 1) for name, loss in self.inner(images, targets).items()}


def test_overflow_of_the_loss_scaler_is_not_divergence(
    stand_in: Make, make_module: Make, make_trainer: Make, stand_in_data: Make
) -> None:
    module = make_module(_Steep(stand_in()), max_nonfinite_steps=1)
    scaler = _CpuScaler(2.0**127, growth_interval=100)
    record = fit(make_trainer, module, stand_in_data(), plugins=[scaler])
    assert module.nonfinite_steps == 0
    assert scaler.scaler is not None
    assert scaler.scaler.get_scale() < 2.0**127
    pairs = list(zip(record.weights, record.weights[1:], strict=False))
    skipped = sum(torch.equal(before, after) for before, after in pairs)
    assert 0 < skipped < len(pairs)
    assert record.weights[-1].isfinite().all()


def test_randomness_depends_on_seed_and_step(make_module: Make, make_trainer: Make, stand_in_data: Make) -> None:
    first = fit(make_trainer, make_module(seed=3), stand_in_data())
    torch.rand(5)
    again = fit(make_trainer, make_module(seed=3), stand_in_data())
    other = fit(make_trainer, make_module(seed=4), stand_in_data())
    assert torch.equal(first.weights[-1], again.weights[-1])
    assert not torch.equal(first.weights[-1], other.weights[-1])


def test_accumulated_batches_make_one_step(make_module: Make, make_trainer: Make, stand_in_data: Make) -> None:
    module = make_module()
    record = fit(make_trainer, module, stand_in_data(), max_steps=2, accumulate_grad_batches=2)
    assert len(record.weights) == 4
    assert torch.equal(record.weights[1], record.weights[2])
    assert not torch.equal(record.weights[2], record.weights[3])


def test_nan_in_accumulated_batch_drops_step(
    stand_in: Make, make_module: Make, make_trainer: Make, stand_in_data: Make
) -> None:
    module = make_module(NonFinite(stand_in(), [2]))
    record = fit(make_trainer, module, stand_in_data(), max_steps=3, accumulate_grad_batches=2)
    assert module.nonfinite_steps == 1
    assert torch.equal(record.weights[1], record.weights[3])
    assert not torch.equal(record.weights[3], record.weights[5])


def test_training_without_an_optimizer_is_an_error(stand_in: Make, make_trainer: Make, stand_in_data: Make) -> None:
    with pytest.raises(ConfigError, match="prediction only"):
        make_trainer().fit(DetectorModule(stand_in()), datamodule=stand_in_data())


def test_a_batch_without_readable_images_has_no_predictions(stand_in: Make) -> None:
    assert DetectorModule(stand_in()).predict_step(([], []), 0) == []


def test_checkpoint_holds_plain_values(
    stand_in: Make, make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    """The count of dropped steps is among them."""
    config = {"detector": {"norm": "bn"}, "category_ids": [1], "class_names": None}
    module = make_module(NonFinite(stand_in(), [1]), model_config=config)
    checkpoint = StepCheckpoint(tmp_path, every_n_steps=2)
    make_trainer(max_steps=2, callbacks=[checkpoint], enable_checkpointing=True).fit(module, datamodule=stand_in_data())
    stored = torch.load(checkpoint.last_path, weights_only=True)
    assert stored["model_config"] == config
    assert stored["nonfinite_steps"] == [1, 1]
    assert str(tmp_path) not in repr({key: stored[key] for key in stored if key != "state_dict"})
