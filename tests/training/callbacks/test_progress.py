import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from cutler_pl.training.callbacks import StepProgressBar, Throughput

Make = Callable[..., Any]


def test_bar_shows_steps_loss_and_rate(
    make_module: Make, make_trainer: Make, stand_in_data: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    callbacks = [StepProgressBar(refresh_rate=2, plain=False), Throughput(every_n_steps=2, warmup_steps=1)]
    trainer = make_trainer(callbacks=callbacks, enable_progress_bar=True)
    trainer.fit(make_module(), datamodule=stand_in_data())
    last = capsys.readouterr().out.replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("training: 100%")
    assert " 8/8 " in last
    assert "loss=" in last
    assert re.search(r"img/s=[\d.]+, data time=\d+%\]", last)
    assert "train/" not in last
    assert "v_num" not in last


def test_log_files_get_plain_lines(
    make_module: Make, make_trainer: Make, stand_in_data: Make, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """One for every `refresh_rate` steps, also after a resume, and no bar."""
    callbacks = [
        Throughput(every_n_steps=2, warmup_steps=1),
        StepProgressBar(refresh_rate=2, plain=True, seconds_between_lines=0.0),
    ]
    trainer = make_trainer(callbacks=callbacks, enable_progress_bar=True)
    with caplog.at_level(logging.INFO, "cutler_pl"):
        trainer.fit(make_module(), datamodule=stand_in_data())
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("step ")]
    assert [line.split(",")[0] for line in lines] == [f"step {step} of 8" for step in (2, 4, 6, 8)]
    assert re.fullmatch(r"step 4 of 8, loss \d+\.\d{3}, [\d.]+ img/s, \d+% data time, \d:\d\d:\d\d left", lines[1])
    assert "left" not in lines[-1]
    assert "%|" not in capsys.readouterr().out
