import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger

from cutler_pl.errors import OutputWriteError
from cutler_pl.training.loggers import WholeCSVLogger

Make = Callable[..., Any]


def test_csv_row_per_logged_step(make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="logs", flush_logs_every_n_steps=2)
    trainer = make_trainer(max_steps=4, log_every_n_steps=2, logger=logger)
    trainer.fit(make_module(), datamodule=stand_in_data())
    header, *rows = (tmp_path / "logs/version_0/metrics.csv").read_text().splitlines()
    names = {"train/loss", "train/loss_cls", "train/loss_mask", "train/lr", "train/nonfinite_steps", "step", "epoch"}
    assert set(header.split(",")) == names
    assert len(rows) == 2


def test_new_columns_never_cost_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full, or the process killed, while the file is written with another header."""
    logger = WholeCSVLogger(tmp_path, name="logs")
    for step, name in enumerate(("train/loss", "val/AP")):
        logger.log_metrics({name: 1.0}, step=step)
        logger.save()
    path = tmp_path / "logs/version_0/metrics.csv"
    before = path.read_text()
    assert before.splitlines() == ["step,train/loss,val/AP", "0,1.0,", "1,,1.0"]

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("csv.DictWriter.writerows", full)
    logger.log_metrics({"val/AR": 1.0}, step=2)
    with pytest.raises(OutputWriteError, match=r"metrics\.csv"):
        logger.save()
    assert path.read_text() == before
