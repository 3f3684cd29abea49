import copy
import logging
from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cutler_pl.errors import ConfigError
from cutler_pl.models import build_detector
from cutler_pl.training.callbacks import Throughput
from cutler_pl.training.callbacks.precise_bn import PreciseBatchNorm, run_normalised_part, update_statistics

Make = Callable[..., Any]
# float32 moments of a batch, pooled in float64
TOLERANCE: dict[str, float] = {"rtol": 1e-5, "atol": 1e-6}


def pooled(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    values = torch.cat([batch.transpose(0, 1).flatten(1) for batch in batches], dim=1).double()
    return values.mean(dim=1).float(), values.var(dim=1).float()


@given(sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(1, 5)), min_size=1, max_size=5))
def test_statistics_of_all_batches_together(sizes: list[tuple[int, int, int]]) -> None:
    batches = [3 * torch.randn(n, 2, h, w) + i for i, (n, h, w) in enumerate(sizes)]
    layer = nn.BatchNorm2d(2)
    assert update_statistics(layer, batches, layer, num_batches=9) == len(batches)
    mean, variance = pooled(batches)
    torch.testing.assert_close(layer.running_mean, mean, **TOLERANCE)
    torch.testing.assert_close(layer.running_var, variance, **TOLERANCE)


def test_batches_of_large_mean_lose_no_digits() -> None:
    batches = [torch.randn(2, 1, 4, 4) + 1000 for _ in range(3)]
    layer = nn.BatchNorm2d(1)
    update_statistics(layer, batches, layer, num_batches=3)
    torch.testing.assert_close(layer.running_var, pooled(batches)[1], rtol=1e-4, atol=0)


def test_inner_layers_see_what_they_see_in_training() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.BatchNorm2d(2))
    batches = [torch.randn(2, 2, 4, 4) * 5 for _ in range(3)]
    update_statistics(model, batches, model, num_batches=3)
    fresh = copy.deepcopy(model).train()
    mean, variance = pooled([fresh[1](fresh[0](batch)).detach() for batch in batches])
    torch.testing.assert_close(model[2].running_mean, mean, **TOLERANCE)
    torch.testing.assert_close(model[2].running_var, variance, **TOLERANCE)


def test_nothing_but_the_statistics_changes() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2, momentum=0.3), nn.Dropout(), nn.BatchNorm2d(2, momentum=None))
    model[0].num_batches_tracked.fill_(7)
    model.train()
    model[1].eval()
    update_statistics(model, [torch.randn(2, 2, 4, 4)], model, num_batches=1)
    assert [module.training for module in model] == [True, False, True]
    assert [model[0].momentum, model[2].momentum] == [0.3, None]
    assert [int(model[0].num_batches_tracked), int(model[2].num_batches_tracked)] == [7, 0]
    assert not model[0]._forward_pre_hooks
    assert all(parameter.grad is None for parameter in model.parameters())


def test_random_state_is_unchanged() -> None:
    model = nn.BatchNorm2d(1)
    batch = torch.randn(2, 1, 4, 4)
    state = torch.random.get_rng_state()
    update_statistics(model, [batch], lambda batch: model(batch + torch.rand(1)), num_batches=1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_only_so_many_batches_are_taken() -> None:
    layer = nn.BatchNorm2d(1)
    batches = iter([torch.randn(2, 1, 2, 2) for _ in range(5)])
    assert update_statistics(layer, batches, layer, num_batches=2) == 2


def test_a_model_without_batch_normalisation_takes_no_batch() -> None:
    layer = nn.GroupNorm(1, 2)
    assert update_statistics(layer, [torch.randn(1, 2, 2, 2)], layer, num_batches=1) == 0


def test_failure_restores_the_model() -> None:
    """No batches are an error."""
    layer = nn.BatchNorm2d(1, momentum=0.2)
    with pytest.raises(ConfigError, match="found no batch"):
        update_statistics(layer, [], layer, num_batches=2)

    def fail(_: Tensor) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        update_statistics(layer, [torch.randn(1, 1, 2, 2)], fail, num_batches=2)
    assert layer.momentum == 0.2
    assert not layer._forward_pre_hooks
    assert layer.running_mean is not None
    assert layer.running_mean.tolist() == [0.0]


@pytest.mark.parametrize("settings", [{"num_batches": 0}, {"every_n_steps": 0}])
def test_settings_that_cannot_work_are_errors(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        PreciseBatchNorm(**settings)


def test_only_the_backbone_runs(batch_of: Make) -> None:
    """The statistics equal those of the whole detector."""
    model = build_detector("mask_rcnn_r50_fpn", backbone="resnet18", fpn_channels=16, box_head_dim=16).train()
    images, targets = batch_of(0, side=64)
    whole = copy.deepcopy(model)
    whole.rpn.register_forward_pre_hook(lambda *_: pytest.fail("the heads ran"))
    update_statistics(whole, [(images, targets)], lambda batch: run_normalised_part(whole, *batch), num_batches=1)
    update_statistics(
        model, [(images, targets)], lambda batch: model.backbone(model.batch(batch[0]).pixels), num_batches=1
    )
    for ours, theirs in zip(whole.buffers(), model.buffers(), strict=True):
        assert torch.equal(ours, theirs)


class Watch(L.Callback):
    """Notes when statistics were measured, told from a change of the running mean."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.events.append(f"step {trainer.global_step}")

    def on_validation_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.events.append(f"validation {trainer.global_step}")


def test_interval_before_validation_and_at_end(
    make_module: Make, make_trainer: Make, stand_in_data: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    monkeypatch.setattr(
        "cutler_pl.training.callbacks.precise_bn.update_statistics", lambda *_, **__: events.append("measured") or 1
    )
    callbacks = [PreciseBatchNorm(num_batches=2, every_n_steps=3), Watch(events)]
    trainer = make_trainer(max_steps=7, val_check_interval=2, limit_val_batches=1.0, callbacks=callbacks)
    trainer.fit(make_module(), datamodule=stand_in_data(validation=True))
    assert events == [
        "step 1", "step 2", "measured", "validation 2", "measured", "step 3", "step 4", "measured", "validation 4",
        "step 5", "measured", "step 6", "validation 6", "measured", "step 7",
    ]  # fmt: skip


def test_validation_sees_the_measured_statistics(make_module: Make, make_trainer: Make, stand_in_data: Make) -> None:
    module, data = make_module(), stand_in_data(validation=True)
    callbacks = [PreciseBatchNorm(num_batches=3, every_n_steps=2)]
    make_trainer(max_steps=2, val_check_interval=2, limit_val_batches=1.0, callbacks=callbacks).fit(
        module, datamodule=data
    )
    batches = iter(data.precise_bn_dataloader())
    features = []
    for _ in range(3):
        images, _ = next(batches)
        features.append(module.model.conv(torch.stack(images).float() / 255).detach())
    mean, variance = pooled(features)
    torch.testing.assert_close(module.model.norm.running_mean, mean, **TOLERANCE)
    torch.testing.assert_close(module.model.norm.running_var, variance, **TOLERANCE)


def test_data_without_batches_for_it_is_an_error(make_module: Make, make_trainer: Make, stand_in_data: Make) -> None:
    class Without(stand_in_data):  # type: ignore[misc, valid-type]
        precise_bn_dataloader = property()

    trainer = make_trainer(max_steps=1, callbacks=[PreciseBatchNorm()])
    with pytest.raises(ConfigError, match=r"callbacks\.precise_bn=null"):
        trainer.fit(make_module(), datamodule=Without())


@pytest.mark.parametrize(
    ("step", "measured_at", "every", "expected"),
    [
        (20, None, 5000, 2),  # 20 steps of training: 2 batches, not 200
        (5000, None, 5000, 200),
        (36_000, 35_000, 5000, 200),  # the last interval of a training may be shorter
        (260, None, None, 26),
        (3, None, 5000, 1),
        (110, 100, 100, 10),
    ],
)
def test_short_runs_measure_less(step: int, measured_at: int | None, every: int | None, expected: int) -> None:
    callback = PreciseBatchNorm(num_batches=200, every_n_steps=every, max_share=0.1)
    callback.load_state_dict({"measured_at": measured_at})
    assert callback.batches_at(step) == expected
    assert PreciseBatchNorm(num_batches=200, every_n_steps=every).batches_at(step) == 200


def test_measuring_is_announced_and_not_counted(
    make_module: Make, make_trainer: Make, stand_in_data: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Not into the images per second."""
    left_out = []

    class Counting(Throughput):
        def leave_out(self, seconds: float) -> None:
            left_out.append(seconds)

    callbacks = [PreciseBatchNorm(num_batches=3), Counting()]
    with caplog.at_level(logging.INFO, "cutler_pl"):
        make_trainer(callbacks=callbacks, max_steps=2).fit(make_module(), datamodule=stand_in_data())
    first, second = [r.getMessage() for r in caplog.records if "batch normalisation" in r.getMessage()]
    assert first == "measuring batch normalisation at step 2, batches: 3"
    assert second.startswith("batch normalisation measured at step 2, batches of each process: 3")
    assert len(left_out) == 1
