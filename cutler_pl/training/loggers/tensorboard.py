"""TensorBoard; a resumed training adds to its run."""

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from cutler_pl.runtime.imports import require
from cutler_pl.training.loggers.tracker import LogModel, Table


class RecordingTensorBoardLogger(TensorBoardLogger):
    """Lightning's TensorBoard logger with figures, tables and the run's record; files it has no place for."""

    log_model: LogModel = False

    def track_figure(self, path: Path, *, step: int) -> None:
        """An image of the step."""
        with Image.open(path) as image:
            self.experiment.add_image(f"samples/{path.stem}", np.asarray(image), step, dataformats="HWC")

    def track_table(self, table: Table, *, step: int) -> None:
        """A Markdown table `tables/<name>` of the step."""
        lines = [table.columns, ["---"] * len(table.columns), *(map(_shown, row) for row in table.rows)]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        self.experiment.add_text(f"tables/{table.name}", text, step)

    def track_run(self, folder: Path, metadata: dict[str, Any]) -> None:
        """Both files as text."""
        for name in ("config.yaml", "run.json"):
            content = (folder / name).read_text(encoding="utf-8")
            self.experiment.add_text(name, "".join(f"    {line}\n" for line in content.splitlines()))

    def track_checkpoint(self, path: Path) -> None:
        """Nothing: TensorBoard keeps no files."""


def tensorboard_logger(*, save_dir: str | Path, **options: Any) -> RecordingTensorBoardLogger:
    """TensorBoard logger; a training resumed into the same folder adds to its run.

    Raises:
        OptionalDependencyError: TensorBoard is not installed.
    """
    require("tensorboard", extra="tracking", purpose="logger=tensorboard")
    options = {"name": "tensorboard", "version": "", "default_hp_metric": False, **options}
    return RecordingTensorBoardLogger(save_dir=save_dir, **options)


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"
