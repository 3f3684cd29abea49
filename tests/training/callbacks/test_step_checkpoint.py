import csv
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CSVLogger

from cutler_pl.errors import ConfigError
from cutler_pl.training.callbacks import PreciseBatchNorm, StepCheckpoint

Make = Callable[..., Any]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("save_top_k", "expected"),
    [
        (1, ["last.ckpt", "step_0000008.ckpt"]),
        (2, ["last.ckpt", "step_0000006.ckpt", "step_0000008.ckpt"]),
        (None, ["last.ckpt", "step_0000003.ckpt", "step_0000006.ckpt", "step_0000008.ckpt"]),
    ],
)
def test_files_at_the_interval_and_at_the_end(
    save_top_k: int | None,
    expected: list[str],
    make_module: Make,
    make_trainer: Make,
    stand_in_data: Make,
    tmp_path: Path,
) -> None:
    callback = StepCheckpoint(tmp_path / "c", every_n_steps=3, save_top_k=save_top_k)
    make_trainer(callbacks=[callback], enable_checkpointing=True).fit(make_module(), datamodule=stand_in_data())
    assert names(tmp_path / "c") == expected
    assert callback.last_path.readlink() == Path("step_0000008.ckpt")
    assert torch.load(callback.last_path, weights_only=True)["global_step"] == 8


def test_the_end_by_time_is_saved_as_well(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    callback = StepCheckpoint(tmp_path / "c", every_n_steps=100)
    trainer = make_trainer(
        max_steps=-1, max_epochs=1, limit_train_batches=3, callbacks=[callback], enable_checkpointing=True
    )
    trainer.fit(make_module(), datamodule=stand_in_data())
    assert names(tmp_path / "c") == ["last.ckpt", "step_0000003.ckpt"]


def test_checkpoint_has_statistics_of_its_step(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    module = make_module()
    # given before the other callback, and still run after it
    callbacks = [StepCheckpoint(tmp_path / "c", every_n_steps=9), PreciseBatchNorm(num_batches=2)]
    make_trainer(max_steps=3, callbacks=callbacks, enable_checkpointing=True).fit(module, datamodule=stand_in_data())
    stored = torch.load(tmp_path / "c" / "last.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(stored["model.norm.running_var"], module.model.norm.running_var)


class EndsAt(Checkpoint):
    """Ends a run after the checkpoint of a step: Lightning logs the metrics of the step afterwards."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


def test_metrics_of_a_saved_step_are_kept(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    """Also where a run ends between its checkpoint and its row of metrics."""

    def rows(name: str, *ends: Checkpoint, max_steps: int = 8, **resume: Any) -> dict[str, dict[str, str]]:
        callbacks = [StepCheckpoint(tmp_path / name / "c", every_n_steps=4), *ends]
        trainer = make_trainer(
            callbacks=callbacks, enable_checkpointing=True, log_every_n_steps=2, logger=CSVLogger(tmp_path / name),
            max_steps=max_steps,
        )  # fmt: skip
        with suppress(SystemExit):
            trainer.fit(make_module(), datamodule=stand_in_data(), weights_only=bool(resume) or None, **resume)
        found: dict[str, dict[str, str]] = {}
        for path in sorted((tmp_path / name).rglob("metrics.csv")):
            found |= {row["step"]: row for row in csv.DictReader(path.read_text().splitlines())}
        return found

    assert list(rows("ended", EndsAt(4))) == ["1"]
    assert rows("ended", ckpt_path=tmp_path / "ended" / "c" / "last.ckpt") == rows("whole")
    rows("whole", max_steps=10, ckpt_path=tmp_path / "whole" / "c" / "last.ckpt")
    again = tmp_path / "whole" / "lightning_logs" / "version_1" / "metrics.csv"
    assert [row["step"] for row in csv.DictReader(again.read_text().splitlines())] == ["9"]  # 7 was logged


@pytest.mark.parametrize("settings", [{"every_n_steps": 0}, {"every_n_steps": 1, "save_top_k": 0}])
def test_settings_that_cannot_work_are_errors(settings: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        StepCheckpoint(tmp_path, **settings)


class NanLoss(L.Callback):
    """Makes the loss of some steps not a number."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def spoil(_: Any, __: Any, losses: Any) -> Any:
            factor = float("nan") if trainer.global_step in self.steps else 1.0
            return {name: loss * factor for name, loss in losses.items()}

        pl_module.model.register_forward_hook(spoil)


def test_nothing_is_deleted_while_steps_are_dropped(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    callbacks = [NanLoss(3), StepCheckpoint(tmp_path / "c", every_n_steps=2, save_top_k=1)]
    trainer = make_trainer(callbacks=callbacks, max_steps=4, enable_checkpointing=True)
    trainer.fit(make_module(), datamodule=stand_in_data())
    assert names(tmp_path / "c") == ["last.ckpt", "step_0000002.ckpt", "step_0000004.ckpt"]
