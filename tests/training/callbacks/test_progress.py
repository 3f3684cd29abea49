from collections.abc import Callable
from typing import Any

import pytest

from cutler_pl.training.callbacks import StepProgressBar, Throughput

Make = Callable[..., Any]


def test_bar_shows_steps_loss_and_rate(
    make_module: Make, make_trainer: Make, stand_in_data: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    callbacks = [StepProgressBar(refresh_rate=2), Throughput(every_n_steps=2, warmup_steps=1)]
    trainer = make_trainer(callbacks=callbacks, enable_progress_bar=True)
    trainer.fit(make_module(), datamodule=stand_in_data())
    last = capsys.readouterr().out.replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("training: 100%")
    assert " 8/8 " in last
    assert "loss=" in last
    assert "images_per_s=" in last
    assert "train/" not in last
    assert "v_num" not in last
