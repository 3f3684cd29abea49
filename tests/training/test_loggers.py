import errno
import importlib.metadata
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cutler_pl.errors import OptionalDependencyError, OutputWriteError
from cutler_pl.runtime import imports
from cutler_pl.training.callbacks import VisualSamples
from cutler_pl.training.loggers import WholeCSVLogger, flatten, mlflow_logger, tensorboard_logger, wandb_logger

Make = Callable[..., Any]


def test_nested_settings_become_one_level() -> None:
    nested = {"seed": 0, "optimizer": {"lr": 0.1, "groups": {"a": 1}}, "empty": {}, "sizes": [1, 2]}
    assert flatten(nested) == {"seed": 0, "optimizer.lr": 0.1, "optimizer.groups.a": 1, "empty": {}, "sizes": [1, 2]}


def test_tracking_brings_the_server_of_mlflow() -> None:
    """`mlflow ui` needs Flask, which mlflow-skinny does not bring."""
    extra = [line for line in importlib.metadata.requires("cutler_pl") or () if "tracking" in line]
    assert any(line.startswith("mlflow>=") for line in extra)
    assert any(line.startswith("Flask") for line in importlib.metadata.requires("mlflow") or ())


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


def test_tensorboard_gets_metrics_and_figures(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path
) -> None:
    """In one folder, also after a resume."""
    for steps in (2, 4):
        logger = tensorboard_logger(save_dir=tmp_path)
        logger.log_hyperparams({"optimizer": {"lr": 0.1}})
        samples = VisualSamples(tmp_path / "s", every_n_steps=2, num_images=1)
        trainer = make_trainer(max_steps=steps, logger=logger, callbacks=[samples])
        trainer.fit(make_module(), datamodule=stand_in_data())
        logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == ["samples/train_0"]
    assert {event.step for event in events.Scalars("train/loss")} == {0, 1, 2, 3}


@pytest.fixture
def mlflow_of(tmp_path: Path) -> Callable[[str], Any]:
    """Factory of MLflow loggers that share one sqlite file; the argument names the output folder of the run."""

    def make(output: str) -> Any:
        return mlflow_logger(
            tracking_uri=f"sqlite:///{tmp_path / 'my photos (1), new' / 'mlflow.db'}",
            artifact_location=str(tmp_path / "artifacts"),
            experiment_name="test",
            run_name=output,
            run_id_file=tmp_path / output / "mlflow_run_id.txt",
        )

    return make


# MLflow uses an option of SQLAlchemy that 2.1 deprecates: https://docs.sqlalchemy.org/en/21/changelog/changelog_21.html
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")
def test_mlflow_resumes_in_sqlite_file(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path, mlflow_of: Callable[[str], Any]
) -> None:
    logger = mlflow_of("a")
    logger.log_hyperparams({"optimizer": {"lr": 0.1}, "name": "a"})
    samples = VisualSamples(tmp_path / "s", every_n_steps=2, num_images=1)
    make_trainer(max_steps=2, logger=logger, callbacks=[samples]).fit(make_module(), datamodule=stand_in_data())
    (figure,) = (tmp_path / "artifacts").rglob("samples/step_0000002/*.jpg")
    assert figure.name == "train_0.jpg"

    resumed = mlflow_of("a")
    resumed.log_hyperparams({"optimizer": {"lr": 0.2}, "name": "a", "resume": "x.ckpt"})
    assert resumed.run_id == logger.run_id
    other = mlflow_of("b")
    other.log_hyperparams({"name": "b"})
    assert other.run_id != logger.run_id

    with sqlite3.connect(tmp_path / "my photos (1), new" / "mlflow.db") as database:
        run = (logger.run_id,)
        metrics = dict(database.execute("select key, count(*) from metrics where run_uuid = ? group by key", run))
        params = dict(database.execute("select key, value from params where run_uuid = ?", run))
        tags = dict(database.execute("select key, value from tags where run_uuid = ?", run))
    database.close()
    assert metrics["train/loss"] == 2
    assert params == {"optimizer.lr": "0.1", "name": "a", "resume": "x.ckpt"}
    assert tags["resumed.optimizer.lr"] == "0.2"
    assert "resumed.name" not in tags


def test_wandb_records_offline(
    make_module: Make, make_trainer: Make, stand_in_data: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    monkeypatch.setenv("WANDB_SILENT", "true")
    options = {"save_dir": tmp_path, "offline": True, "project": "test", "run_id_file": tmp_path / "wandb_id.txt"}
    logger = wandb_logger(**options, name="a")
    samples = VisualSamples(tmp_path / "s", every_n_steps=2, num_images=1)
    make_trainer(max_steps=2, logger=logger, callbacks=[samples]).fit(make_module(), datamodule=stand_in_data())
    logger.experiment.finish()
    assert wandb_logger(**options, name="a").version == logger.version  # a resumed training goes on in its run
    wandb.teardown()  # else the last bytes are written when this process ends
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (record,) = folder.glob("*.wandb")
    assert b"train/loss_mask" in record.read_bytes()
    assert [path.suffix for path in folder.glob("files/media/images/samples/train_0_*")] == [".jpg"]
