"""Trackers through Lightning's loggers, for runs that may be offline, killed and resumed; several at once are fine.

Usage statistics of MLflow and error reports of an offline W&B run are off unless the environment asks for them.
"""

import csv
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.files import atomic_write, write_text
from cutler_pl.runtime.imports import require
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

_EXTRA = "tracking"
_MAX_VALUE = 250  # Lightning cuts a parameter's value to this length before it goes to MLflow


class WholeCSVLogger(CSVLogger):
    """Lightning's CSV logger; its file is replaced as a whole where new metrics add columns, so that no row is lost."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer of the file."""
        if self._experiment is None:
            self._experiment = _WholeWriter(log_dir=self.log_dir)
        return cast(ExperimentWriter, self._experiment)


class _WholeWriter(ExperimentWriter):
    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=fieldnames)
            writer.writeheader()
            writer.writerows(rows)


class ResumableMLFlowLogger(MLFlowLogger):
    """Lightning's MLflow logger; a training resumed into the same folder continues its run.

    MLflow's parameters are immutable: one that a resumed run changes becomes the tag `resumed.<name>`.

    Args:
        run_id_file: Text file with the id of the MLflow run; made at the first start.
        **options: Options of `lightning.pytorch.loggers.MLFlowLogger`.
    """

    def __init__(self, *, run_id_file: str | Path, **options: Any) -> None:
        self.run_id_file = Path(run_id_file)
        if "run_id" not in options and self.run_id_file.is_file():
            options["run_id"] = self.run_id_file.read_text(encoding="utf-8").strip()
        super().__init__(**options)

    @property
    def experiment(self) -> Any:
        """The MLflow client; on rank 0 the first access creates the run and stores its id."""
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


def mlflow_logger(*, tracking_uri: str, run_id_file: str | Path, experiment_name: str, **options: Any) -> MLFlowLogger:
    """MLflow logger; makes the folder of a `sqlite:///` address.

    Raises:
        OptionalDependencyError: MLflow is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    require("mlflow", extra=_EXTRA, purpose="logger=mlflow")
    if tracking_uri.startswith("sqlite:///"):
        Path(tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return ResumableMLFlowLogger(
        tracking_uri=tracking_uri, run_id_file=run_id_file, experiment_name=experiment_name, **options
    )


def wandb_logger(
    *, save_dir: str | Path, offline: bool, project: str, run_id_file: str | Path, **options: Any
) -> WandbLogger:
    """Weights & Biases logger; `offline` keeps everything in `save_dir/wandb`, for `wandb sync` later.

    A training resumed into the same folder continues its run, whose id is in `run_id_file`.

    Raises:
        OptionalDependencyError: wandb is not installed.
    """
    if offline:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    require("wandb", extra=_EXTRA, purpose="logger=wandb")
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    if "id" not in options and global_rank() == 0:
        file = Path(run_id_file)
        if not file.is_file():
            write_text(file, secrets.token_hex(4) + "\n")
        options |= {"id": file.read_text(encoding="utf-8").strip(), "resume": "allow"}
    return WandbLogger(save_dir=save_dir, offline=offline, project=project, **options)


def tensorboard_logger(*, save_dir: str | Path, **options: Any) -> TensorBoardLogger:
    """TensorBoard logger; a training resumed into the same folder adds to its run.

    Raises:
        OptionalDependencyError: TensorBoard is not installed.
    """
    require("tensorboard", extra=_EXTRA, purpose="logger=tensorboard")
    return TensorBoardLogger(save_dir=save_dir, name="tensorboard", version="", default_hp_metric=False, **options)


def log_figure(loggers: list[Logger], path: Path, *, step: int) -> None:
    """Give an image file to the trackers that show images, under `samples/<name of the file>`.

    Args:
        loggers: Loggers of a Trainer; call it on rank 0.
        path: The file.
        step: Step of the training.
    """
    name = f"samples/{path.stem}"
    for logger in loggers:
        if isinstance(logger, MLFlowLogger):
            logger.experiment.log_artifact(logger.run_id, str(path), artifact_path=f"samples/step_{step:07d}")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [str(path)], step=step)
        elif isinstance(logger, TensorBoardLogger):
            with Image.open(path) as image:
                logger.experiment.add_image(name, np.asarray(image), step, dataformats="HWC")


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level: `{"optimizer": {"lr": 1}}` gives `{"optimizer.lr": 1}`."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
