"""MLflow and Weights & Biases through Lightning's loggers, for runs that may be offline and may be resumed.

Usage statistics of MLflow and error reports of an offline W&B run are off unless the environment asks for them.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.files import write_text
from cutler_pl.runtime.imports import require
from cutler_pl.runtime.logging import get_logger

log = get_logger(__name__)

_EXTRA = "tracking"
_MAX_VALUE = 250  # Lightning cuts a parameter's value to this length before it goes to MLflow


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


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level: `{"optimizer": {"lr": 1}}` gives `{"optimizer.lr": 1}`."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
