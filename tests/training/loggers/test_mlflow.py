import importlib.metadata
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cutler_pl.errors import TrackerError
from cutler_pl.training.callbacks import StepCheckpoint, VisualSamples
from cutler_pl.training.loggers import Table, mlflow_logger
from cutler_pl.training.loggers.mlflow import flatten

Make = Callable[..., Any]


def test_nested_settings_become_one_level() -> None:
    nested = {"seed": 0, "optimizer": {"lr": 0.1, "groups": {"a": 1}}, "empty": {}, "sizes": [1, 2]}
    assert flatten(nested) == {"seed": 0, "optimizer.lr": 0.1, "optimizer.groups.a": 1, "empty": {}, "sizes": [1, 2]}


def test_tracking_brings_the_server_of_mlflow() -> None:
    """`mlflow ui` needs Flask, which mlflow-skinny does not bring."""
    extra = [line for line in importlib.metadata.requires("cutler_pl") or () if "tracking" in line]
    assert any(line.startswith("mlflow>=") for line in extra)
    assert any(line.startswith("Flask") for line in importlib.metadata.requires("mlflow") or ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the sqlite file and the artifacts; MLflow takes seconds to make a sqlite file."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def mlflow_of(folder: Path, tmp_path: Path) -> Callable[[str], Any]:
    """Factory of MLflow loggers that share one sqlite file; the argument names the output folder of the run."""

    def make(output: str) -> Any:
        return mlflow_logger(
            tracking_uri=f"sqlite:///{folder / 'my photos (1), new' / 'mlflow.db'}",
            artifact_location=str(folder / "artifacts"),
            experiment_name="test",
            run_name=output,
            run_id_file=tmp_path / output / "mlflow_run_id.txt",
        )

    return make


# MLflow uses an option of SQLAlchemy that 2.1 deprecates: https://docs.sqlalchemy.org/en/21/changelog/changelog_21.html
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")
def test_mlflow_resumes_in_sqlite_file(
    make_module: Make,
    make_trainer: Make,
    stand_in_data: Make,
    tmp_path: Path,
    folder: Path,
    mlflow_of: Callable[[str], Any],
) -> None:
    logger = mlflow_of("a")
    logger.log_hyperparams({"optimizer": {"lr": 0.1}, "name": "a"})
    samples = VisualSamples(tmp_path / "s", every_n_steps=2, num_images=1)
    keep = StepCheckpoint(tmp_path / "c", every_n_steps=2)
    trainer = make_trainer(max_steps=2, logger=logger, callbacks=[samples, keep], enable_checkpointing=True)
    trainer.fit(make_module(), datamodule=stand_in_data())
    for name in ("config.yaml", "run.json"):
        (tmp_path / name).write_text("{}")
    logger.track_run(tmp_path, {"commit": "abc"})
    logger.track_table(Table("validation", ["iou_type", "AP"], [["bbox", 1.5], ["segm", 0.5]]), step=2)
    kept = folder / "artifacts" / logger.run_id / "artifacts"
    assert {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()} == {
        "checkpoints/step_0000002.ckpt", "config.yaml", "run.json", "samples/step_0000001/train_0.jpg",
        "samples/step_0000002/train_0.jpg", "tables/step_0000002/validation.csv",
    }  # fmt: skip
    assert (kept / "tables/step_0000002/validation.csv").read_text() == "iou_type,AP\nbbox,1.5\nsegm,0.5\n"

    resumed = mlflow_of("a")
    resumed.log_hyperparams({"optimizer": {"lr": 0.2}, "name": "a", "resume": "x.ckpt"})
    assert resumed.run_id == logger.run_id
    other = mlflow_of("b")
    other.log_hyperparams({"name": "b"})
    assert other.run_id != logger.run_id

    with sqlite3.connect(folder / "my photos (1), new" / "mlflow.db") as database:
        run = (logger.run_id,)
        metrics = dict(database.execute("select key, count(*) from metrics where run_uuid = ? group by key", run))
        params = dict(database.execute("select key, value from params where run_uuid = ?", run))
        tags = dict(database.execute("select key, value from tags where run_uuid = ?", run))
    database.close()
    assert metrics["train/loss"] == 2
    assert params == {"optimizer.lr": "0.1", "name": "a", "resume": "x.ckpt"}
    assert tags["resumed.optimizer.lr"] == "0.2"
    assert "resumed.name" not in tags
    assert tags["mlflow.source.git.commit"] == "abc"


def test_unusable_addresses_are_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "mlflow_run_id.txt"
    options = {"run_id_file": file, "experiment_name": "test"}
    with pytest.raises(TrackerError, match=r"http://127\.0\.0\.1:1: there is no connection to the server; start"):
        _ = mlflow_logger(tracking_uri="http://127.0.0.1:1", **options).experiment
    (tmp_path / "text.db").write_text("no database")
    with pytest.raises(TrackerError, match=r"text\.db: .*not a database"):
        mlflow_logger(tracking_uri=f"sqlite:///{tmp_path}/text.db", **options)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")
def test_missing_run_names_its_file(tmp_path: Path, mlflow_of: Callable[[str], Any]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mlflow_run_id.txt").write_text("0123\n")
    with pytest.raises(TrackerError, match=r"0123.*or remove .*mlflow_run_id\.txt to begin a new run"):
        _ = mlflow_of("a").experiment
