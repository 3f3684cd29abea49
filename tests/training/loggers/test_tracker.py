from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger

from cutler_pl.errors import ConfigError, OptionalDependencyError, TrackerError
from cutler_pl.runtime import imports
from cutler_pl.training.callbacks import StepCheckpoint
from cutler_pl.training.loggers import mlflow_logger, start_loggers, tensorboard_logger, trackers, wandb_logger
from cutler_pl.training.loggers.tracker import LogModel

Make = Callable[..., Any]


class Unreachable(CSVLogger):
    @property
    def experiment(self) -> Any:
        raise TrackerError("there is no login")


@pytest.mark.parametrize("name", ["mlflow", "wandb", "tensorboard"])
def test_missing_package_names_the_extra(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ImportError(module)

    monkeypatch.setattr(imports.importlib, "import_module", missing)
    make: dict[str, Callable[[], object]] = {
        "mlflow": lambda: mlflow_logger(tracking_uri="sqlite:///x", run_id_file=tmp_path / "id", experiment_name="x"),
        "wandb": lambda: wandb_logger(save_dir=tmp_path, offline=True, project="x", run_id_file=tmp_path / "id"),
        "tensorboard": lambda: tensorboard_logger(save_dir=tmp_path),
    }
    with pytest.raises(OptionalDependencyError, match=rf"logger={name} needs .*'{name}'.*cutler_pl\[tracking\]"):
        make[name]()


@pytest.mark.parametrize("make", [mlflow_logger, wandb_logger])
def test_unknown_checkpoints_are_refused(make: Make, tmp_path: Path) -> None:
    options = {"experiment_name": "x", "tracking_uri": "sqlite:///x"} if make is mlflow_logger else {
        "offline": True, "project": "x", "save_dir": tmp_path,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"^logger\.\w+\.log_model=last: expected true or false or all"):
        make(run_id_file=tmp_path / "id", log_model="last", **options)


def test_trackers_get_checkpoints_as_told(
    make_module: Make, make_trainer: Make, stand_in_data: Make, recorder: Make, tmp_path: Path
) -> None:
    choices: dict[LogModel, list[str]] = {
        True: ["step_0000005"], "all": ["step_0000002", "step_0000004", "step_0000005"], False: [],
    }  # fmt: skip
    loggers = [recorder(tmp_path / str(choice), choice) for choice in choices]
    assert trackers([CSVLogger(tmp_path), *loggers]) == loggers
    keep = StepCheckpoint(tmp_path / "c", every_n_steps=2)
    trainer = make_trainer(max_steps=5, logger=loggers, callbacks=[keep], enable_checkpointing=True)
    trainer.fit(make_module(), datamodule=stand_in_data())
    assert [logger.checkpoints for logger in loggers] == list(choices.values())


def test_runs_begun_before_a_refusal_fail(recorder: Make, tmp_path: Path) -> None:
    before, after = recorder(tmp_path), recorder(tmp_path)
    with pytest.raises(TrackerError, match="no login"):
        start_loggers([before, Unreachable(tmp_path), after])
    assert (before.ended, after.ended) == ("failed", "")
