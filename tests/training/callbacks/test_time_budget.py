"""A training with a time budget: it ends in time, with a stepped-down learning rate, also after interruptions."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

from cutler_pl.errors import ConfigError
from cutler_pl.training.callbacks import PreciseBatchNorm, StepCheckpoint, TimeBudget, time_budget
from cutler_pl.training.callbacks.time_budget import seconds_left

Make = Callable[..., Any]


class Clock(L.Callback):
    """A step takes a second; notes the learning rate and the time left of each step."""

    def __init__(self, now: float = 0.0, *, stop_at: int | None = None) -> None:
        self.now = now
        self.stop_at = stop_at
        self.rates: list[float] = []
        self.left: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.stop_at:
            raise KeyboardInterrupt
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.left.append(seconds_left(trainer))
        self.now += 1


@pytest.fixture
def train(make_module: Make, make_trainer: Make, stand_in_data: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    def run(
        folder: Path, clock: Clock, *, seconds: float = 20, steps: int = 100, resume: Path | None = None, every: int = 5
    ) -> None:
        monkeypatch.setattr(time_budget, "time", SimpleNamespace(monotonic=lambda: clock.now))
        budget = TimeBudget(seconds=seconds, path=folder / "used.txt", decay_at=0.5)
        checkpoint = StepCheckpoint(folder, every_n_steps=every)
        callbacks = [clock, budget, PreciseBatchNorm(num_batches=2), checkpoint]
        trainer = make_trainer(max_steps=steps, callbacks=callbacks, enable_checkpointing=True)
        start = {} if resume is None else {"ckpt_path": resume, "weights_only": True}
        trainer.fit(make_module(lr=1.0), datamodule=stand_in_data(), **start)

    return run


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "last.ckpt", weights_only=True)
    return found


def test_training_ends_in_time(train: Make, tmp_path: Path) -> None:
    """With room for the batch normalisation and the checkpoint of its end."""
    clock = Clock()
    train(tmp_path, clock)
    assert 15 <= clock.now <= 19
    assert content(tmp_path)["global_step"] == clock.now
    assert clock.left[:2] == [20, 19]


def test_learning_rate_steps_down_before_the_end(train: Make, tmp_path: Path) -> None:
    clock = Clock()
    train(tmp_path, clock)
    before, after = clock.rates[8:10], clock.rates[10:]
    # the schedule of the stand-in has a milestone at step 6
    assert before == pytest.approx([0.1, 0.1])
    assert after == pytest.approx([0.01] * len(after))
    assert len(after) >= 4


def test_learning_rate_follows_steps_where_these_end_first(train: Make, tmp_path: Path) -> None:
    clock = Clock()
    train(tmp_path, clock, seconds=1000, steps=6)
    assert clock.rates[4] == pytest.approx(0.1)
    assert clock.now == 6


def test_last_checkpoint_has_measured_statistics(train: Make, tmp_path: Path) -> None:
    """Also where the training ends at a step of the interval of the checkpoints."""
    train(tmp_path, Clock(), every=1)
    saved = content(tmp_path)
    assert saved["callbacks"]["PreciseBatchNorm"]["measured_at"] == saved["global_step"]


def test_interrupted_training_does_not_exceed_budget(train: Make, tmp_path: Path) -> None:
    """Steps after the last checkpoint count, too; the learning rate is stepped down again."""
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(tmp_path, Clock(stop_at=14))
    before = content(tmp_path)["global_step"]
    assert before == 10
    clock = Clock(now=100.0)
    train(tmp_path, clock, resume=(tmp_path / "last.ckpt").resolve())
    assert 13 + (clock.now - 100) <= 20
    assert clock.rates[0] == pytest.approx(0.01)
    assert content(tmp_path)["global_step"] == before + clock.now - 100


def test_used_up_budget_ends_after_a_step(train: Make, tmp_path: Path) -> None:
    train(tmp_path, Clock())
    step = content(tmp_path)["global_step"]
    clock = Clock(now=500.0)
    train(tmp_path, clock, resume=(tmp_path / "last.ckpt").resolve())
    assert content(tmp_path)["global_step"] - step <= 2


def test_seconds_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"callbacks.time_budget.seconds=0.0: expected a number"):
        TimeBudget(seconds=0.0, path=tmp_path)
