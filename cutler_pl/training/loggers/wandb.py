"""Weights & Biases, online or in a folder to send later; a resumed training continues its run.

Error reports of an offline run are off unless the environment asks for them.
"""

import os
import secrets
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from cutler_pl.errors import TrackerError
from cutler_pl.runtime.distributed import global_rank
from cutler_pl.runtime.files import write_text
from cutler_pl.runtime.imports import require
from cutler_pl.runtime.ranges import check_arguments
from cutler_pl.training.loggers.tracker import LogModel, Table

_WAY_OUT = "run `wandb login` once, set WANDB_API_KEY, or keep the run here by logger.wandb.offline=true"


class ResumableWandbLogger(WandbLogger):
    """Lightning's W&B logger with figures, tables, the run's record and checkpoints.

    Args:
        log_model: Checkpoints to keep: True for the last one, `"all"`, or False. Lightning's own refuses them offline,
            where `wandb sync` sends them later.
        **options: Options of `lightning.pytorch.loggers.WandbLogger`.
    """

    def __init__(self, *, log_model: LogModel = True, **options: Any) -> None:
        self.log_model = log_model
        super().__init__(**options)

    @property
    def experiment(self) -> Any:
        """The W&B run; on rank 0 the first access begins it.

        Raises:
            TrackerError: There is no login, or no connection.
        """
        wandb: Any = require("wandb", extra="tracking", purpose="logger=wandb")
        try:
            return super().experiment
        except wandb.Error as error:
            reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
            raise TrackerError(f"logger=wandb cannot begin a run: {reason}; {_WAY_OUT}") from error

    def track_figure(self, path: Path, *, step: int) -> None:
        """An image of the step."""
        self.log_image(f"samples/{path.stem}", [str(path)], step=step)

    def track_table(self, table: Table, *, step: int) -> None:
        """A table `tables/<name>` of the step."""
        self.log_table(f"tables/{table.name}", list(table.columns), [list(row) for row in table.rows], step=step)

    def track_run(self, folder: Path, metadata: dict[str, Any]) -> None:
        """Commit, versions and hardware beside the settings, as `run`; the settings are `log_hyperparams`'s."""
        self.log_hyperparams({"run": metadata})

    def track_checkpoint(self, path: Path) -> None:
        """A version of the artifact `model-<id of the run>`."""
        run = self.experiment
        run.log_artifact(str(path), name=f"model-{run.id}", type="model", aliases=["latest", path.stem])


@check_arguments("logger.wandb.")
def wandb_logger(
    *,
    save_dir: str | Path,
    offline: bool,
    project: str,
    run_id_file: str | Path,
    log_model: LogModel = True,
    **options: Any,
) -> ResumableWandbLogger:
    """Weights & Biases logger; `offline` keeps everything in `save_dir/wandb`, for `wandb sync` later.

    A training resumed into the same folder continues its run, whose id is in `run_id_file`.

    Raises:
        ConfigError: `offline` or `log_model` is something else than `ResumableWandbLogger` takes.
        OptionalDependencyError: wandb is not installed.
    """
    if offline:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_DATA_DIR", str(Path(save_dir, "wandb").absolute()))  # of checkpoints until `sync`
    require("wandb", extra="tracking", purpose="logger=wandb")
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    if "id" not in options and global_rank() == 0:
        file = Path(run_id_file)
        if not file.is_file():
            write_text(file, secrets.token_hex(4) + "\n")
        options |= {"id": file.read_text(encoding="utf-8").strip(), "resume": "allow"}
    return ResumableWandbLogger(save_dir=save_dir, offline=offline, project=project, log_model=log_model, **options)
