"""A signal within a training: the step is saved, the training ends, and goes on to the same weights."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from cutler_pl.commands.instantiate import keep_signals
from cutler_pl.runtime import signals
from cutler_pl.training.callbacks import PreciseBatchNorm, StepCheckpoint, StopOnSignal

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    yield
    signals.release()


class Send(L.Callback):
    """Sends a signal to this process in a hook of a step."""

    def __init__(self, hook: str, step: int) -> None:
        self.step = step
        self.validated: list[int] = []
        setattr(self, hook, self.send)

    def send(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_validation_epoch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.validated.append(trainer.global_step)


@pytest.fixture
def train(make_module: Make, make_trainer: Make, stand_in_data: Make) -> Make:
    def run(folder: Path, send: Send, resume: Path | None = None) -> Any:
        checkpoint = StepCheckpoint(folder, every_n_steps=100, save_top_k=None)
        stop = StopOnSignal(checkpoint, way_on="go on")
        callbacks = [PreciseBatchNorm(num_batches=2, every_n_steps=4), send, stop, checkpoint]
        trainer = make_trainer(callbacks=callbacks, enable_checkpointing=True, limit_val_batches=1.0)
        keep_signals(trainer)
        start = {} if resume is None else {"ckpt_path": resume, "weights_only": True}
        with signals.handled():
            signals.begin_work()
            trainer.fit(make_module(), datamodule=stand_in_data(validation=True), **start)

    return run


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


@pytest.mark.parametrize(
    ("hook", "step", "saved", "before", "after"),
    [
        ("on_before_backward", 2, 3, [], [4, 8]),
        ("on_train_batch_start", 3, 4, [], [4, 8]),  # the step before a validation
        ("on_validation_batch_end", 4, 4, [], [4, 8]),
        ("on_validation_end", 4, 5, [4], [8]),
        ("on_before_backward", 7, 8, [4], []),
    ],
    ids=["within a step", "before a validation", "within a validation", "after a validation", "in the last step"],
)
def test_signal_saves_the_running_step(
    hook: str, step: int, saved: int, before: list[int], after: list[int],
    train: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    send = Send(hook, step)
    with pytest.raises(SystemExit) as end:
        train(tmp_path / "c", send)
    assert end.value.code == 143
    assert f"stopped by SIGTERM; step {saved} is saved, go on\n" in capsys.readouterr().err
    assert (tmp_path / "c" / "last.ckpt").resolve().name == f"step_{saved:07d}.ckpt"
    assert send.validated == before
    signals.release()
    whole, rest = Send("unused", 0), Send("unused", 0)
    train(tmp_path / "whole", whole)
    assert whole.validated == [4, 8]
    if saved < 8:
        train(tmp_path / "c", rest, tmp_path / "c" / "last.ckpt")
        assert rest.validated == after
    first, second = (load(tmp_path / folder / "step_0000008.ckpt") for folder in ("whole", "c"))
    assert all(torch.equal(value, second["state_dict"][key]) for key, value in first["state_dict"].items())
    assert first["optimizer_states"][0]["param_groups"] == second["optimizer_states"][0]["param_groups"]
    states = [c["optimizer_states"][0]["state"] for c in (first, second)]
    assert all(torch.equal(states[0][i]["momentum_buffer"], states[1][i]["momentum_buffer"]) for i in states[0])
    assert first["lr_schedulers"] == second["lr_schedulers"]
    progress = [c["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"] for c in (first, second)]
    assert progress[0] == progress[1]
