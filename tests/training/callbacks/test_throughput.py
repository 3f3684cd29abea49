from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest

from cutler_pl.training.callbacks import Throughput, throughput

Make = Callable[..., Any]


class Clock:
    """Gives the times of a script, one a call."""

    def __init__(self, *times: float) -> None:
        self.times: Iterator[float] = iter(times)

    def __call__(self) -> float:
        return next(self.times)


class Keep(L.Callback):
    """What was logged in each step that logged a throughput."""

    def __init__(self) -> None:
        self.values: list[tuple[int, float, float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        logged = trainer.callback_metrics
        if "train/images_per_s" in logged:
            wait = float(logged["train/data_wait"])
            self.values.append((trainer.global_step, float(logged["train/images_per_s"]), wait))


@pytest.mark.parametrize(
    ("validate_every", "warmup", "times", "expected"),
    [
        # steps 10-11 (left out), 12-14, 15-16: four images in 5 s, of which 11-12 and 14-15 are waiting
        (None, 1, (10.0, 11.0, 12.0, 14.0, 15.0, 16.0), [(3, 4 / 5, 2 / 5)]),
        # a step 0-1, a long validation, steps 100-102 and 103-105
        (1, 0, (0.0, 1.0, 100.0, 102.0, 203.0, 205.0), [(3, 2 / 2, 0.0)]),
    ],
    ids=["by hand", "validation does not count"],
)
def test_images_a_second_and_the_share_of_waiting(
    validate_every: int | None,
    warmup: int,
    times: tuple[float, ...],
    expected: list[tuple[int, float, float]],
    make_module: Make,
    make_trainer: Make,
    stand_in_data: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=Clock(*times)))
    keep = Keep()
    callbacks = [Throughput(every_n_steps=3, warmup_steps=warmup), keep]
    validation = {"val_check_interval": validate_every, "limit_val_batches": 1.0} if validate_every else {}
    trainer = make_trainer(max_steps=3, callbacks=callbacks, **validation)
    trainer.fit(make_module(), datamodule=stand_in_data(validation=bool(validate_every)))
    assert [value[0] for value in keep.values] == [value[0] for value in expected]
    assert keep.values[0][1:] == pytest.approx(expected[0][1:])
