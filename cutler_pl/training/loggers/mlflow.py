"""MLflow, in a local sqlite file or on a server; a resumed training continues its run.

Usage statistics of MLflow are off unless the environment asks for them.
"""

import csv
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only

from cutler_pl.errors import TrackerError
from cutler_pl.runtime.files import write_text
from cutler_pl.runtime.imports import require
from cutler_pl.runtime.logging import get_logger
from cutler_pl.runtime.ranges import check_arguments
from cutler_pl.training.loggers.tracker import LogModel, Table

log = get_logger(__name__)

_MAX_VALUE = 250  # Lightning cuts a parameter's value to this length before it goes to MLflow
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"  # MLflow's own number makes an unreachable server take minutes
_SQLITE = "sqlite:///"


class ResumableMLFlowLogger(MLFlowLogger):
    """Lightning's MLflow logger; a training resumed into the same folder continues its run.

    MLflow's parameters are immutable: one that a resumed run changes becomes the tag `resumed.<name>`.

    Args:
        run_id_file: Text file with the id of the MLflow run; made at the first start.
        log_model: Checkpoints to keep: True for the last one, `"all"`, or False.
        **options: Options of `lightning.pytorch.loggers.MLFlowLogger`.
    """

    def __init__(
        self, *, tracking_uri: str, run_id_file: str | Path, log_model: LogModel = True, **options: Any
    ) -> None:
        self.run_id_file = Path(run_id_file)
        self.log_model = log_model
        if "run_id" not in options and self.run_id_file.is_file():
            options["run_id"] = self.run_id_file.read_text(encoding="utf-8").strip()
        with _errors_named(tracking_uri):
            super().__init__(tracking_uri=tracking_uri, **options)

    @property
    def experiment(self) -> Any:
        """The MLflow client; on rank 0 the first access creates the run and stores its id.

        Raises:
            TrackerError: The server cannot be reached, or has no such run.
        """
        if self._initialized:
            return super().experiment
        with _errors_named(str(self._tracking_uri), self.run_id_file if self._run_id else None):
            client = super().experiment
        if self._run_id is not None and not self.run_id_file.is_file():
            write_text(self.run_id_file, self._run_id + "\n")
        return client

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Log new parameters; store changed ones as tags."""
        client = self.experiment
        given = {name: str(value)[:_MAX_VALUE] for name, value in flatten(params).items()}
        known: Mapping[str, str] = client.get_run(self.run_id).data.params
        super().log_hyperparams({name: value for name, value in given.items() if name not in known})
        changed = {name: value for name, value in given.items() if known.get(name, value) != value}
        for name, value in changed.items():
            client.set_tag(self.run_id, f"resumed.{name}", value)
        if changed:
            log.info("MLflow run resumed with other values, kept as tags: %s", ", ".join(sorted(changed)))

    def track_figure(self, path: Path, *, step: int) -> None:
        """An artifact below `samples/step_<number>/`."""
        self.experiment.log_artifact(self.run_id, str(path), artifact_path=f"samples/step_{step:07d}")

    def track_table(self, table: Table, *, step: int) -> None:
        """An artifact `tables/step_<number>/<name>.csv`, which MLflow's page shows as a table."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([table.columns, *table.rows])
        self.experiment.log_text(self.run_id, text.getvalue(), f"tables/step_{step:07d}/{table.name}.csv")

    def track_run(self, folder: Path, metadata: dict[str, Any]) -> None:
        """Artifacts, and the commit as MLflow's own tag."""
        for name in ("config.yaml", "run.json"):
            self.experiment.log_artifact(self.run_id, str(folder / name))
        self.experiment.set_tag(self.run_id, "mlflow.source.git.commit", metadata["commit"])

    def track_checkpoint(self, path: Path) -> None:
        """An artifact below `checkpoints/`."""
        self.experiment.log_artifact(self.run_id, str(path), artifact_path="checkpoints")


@check_arguments("logger.mlflow.")
def mlflow_logger(
    *,
    tracking_uri: str,
    run_id_file: str | Path,
    experiment_name: str,
    artifact_location: str | None = None,
    log_model: LogModel = True,
    **options: Any,
) -> ResumableMLFlowLogger:
    """MLflow logger; makes the folder of a `sqlite:///` address.

    Args:
        tracking_uri: Address of a server, or `sqlite:///<file>`.
        artifact_location: Folder of the files of a sqlite file's runs; a server has its own.
        log_model: As for `ResumableMLFlowLogger`, which gets the other options, too.

    Raises:
        ConfigError: `log_model` is something else.
        OptionalDependencyError: MLflow is not installed.
        TrackerError: MLflow does not take the address.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    require("mlflow", extra="tracking", purpose="logger=mlflow")
    if tracking_uri.startswith(_SQLITE):
        Path(tracking_uri.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        options["artifact_location"] = artifact_location
    options |= {"experiment_name": experiment_name, "log_model": log_model}
    return ResumableMLFlowLogger(tracking_uri=tracking_uri, run_id_file=run_id_file, **options)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level: `{"optimizer": {"lr": 1}}` gives `{"optimizer.lr": 1}`."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


@contextmanager
def _errors_named(address: str, run_id_file: Path | None = None) -> Iterator[None]:
    """Turn what MLflow says at the start of a run into `TrackerError`, after seconds rather than minutes."""
    mlflow: Any = require("mlflow", extra="tracking", purpose="logger=mlflow")
    sqlalchemy: Any = require("sqlalchemy", extra="tracking", purpose="logger=mlflow")
    chosen = os.environ.get(_RETRIES)
    os.environ[_RETRIES] = chosen or "1"
    try:
        yield
    except (mlflow.exceptions.MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
        unreachable = isinstance(error.__cause__ or error.__context__, OSError)
        reason = "there is no connection to the server" if unreachable else str(error).partition("\n")[0].rstrip(".")
        way_out = "start the server, or name another address by MLFLOW_TRACKING_URI"
        if run_id_file is not None:
            way_out = f"{way_out}, or remove {run_id_file} to begin a new run"
        raise TrackerError(f"logger=mlflow cannot use {address}: {reason}; {way_out}") from error
    finally:
        if chosen is None:
            del os.environ[_RETRIES]
