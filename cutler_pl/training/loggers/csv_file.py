"""Metrics in a CSV file that loses no row."""

import csv
from pathlib import Path
from typing import Any, cast

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from cutler_pl.runtime.files import atomic_write


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
