"""Cells of the ladder: what each measures, and the small file that keeps its result."""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cutler_pl.commands.result_cache import read_cached, read_record, write_cached
from cutler_pl.runtime.environment import run_metadata

Result = dict[str, Any]
"""What a cell measured, in JSON's types."""


@dataclass(frozen=True)
class Cell:
    """One measurement, that a run can be killed in and that the next run makes again.

    Attributes:
        table: `masks`, `detectors` or `speed`.
        row: What is measured: a generator, or an option.
        data: What it is measured on.
        seed: Of the scenes and of the training.
        settings: All that the result depends on, in JSON's types.
        measure: Makes the result.
    """

    table: str
    row: str
    data: str
    seed: int
    settings: Mapping[str, Any]
    measure: Callable[[], Result]

    @property
    def name(self) -> str:
        """Path of the cell's file below the results, without its suffix."""
        return f"{self.table}/{self.data}/{self.row}_{self.seed}"

    def file(self, results: Path) -> Path:
        """The file that keeps its result."""
        return results / f"{self.name}.json"


@dataclass(frozen=True)
class Measured:
    """A cell that has a result; `key` is its table, data, row and seed."""

    key: tuple[str, str, str, int]
    result: Result
    cpu_seconds: float
    run: Mapping[str, Any]


def matching(cells: Iterable[Cell], patterns: Sequence[str]) -> list[Cell]:
    """Cells whose names match one of the shell patterns; all where there is none."""
    return [cell for cell in cells if not patterns or any(fnmatchcase(cell.name, one) for one in patterns)]


def is_done(cell: Cell, results: Path) -> bool:
    """Whether the cell's file is there and of the same settings."""
    return read_cached(cell.file(results), cell.settings) is not None


def run_cell(cell: Cell, results: Path) -> None:
    """Measure and write the file, which is whole or not there."""
    before, start = os.getloadavg()[0], time.process_time()
    result = cell.measure()
    seconds = time.process_time() - start
    loads = [round(before, 1), round(os.getloadavg()[0], 1)]
    write_cached(
        cell.file(results),
        cell.settings,
        key=[cell.table, cell.data, cell.row, cell.seed],
        result=result,
        cpu_seconds=round(seconds, 2),
        run={**describe_run(), "load": loads},
    )


def describe_run() -> dict[str, Any]:
    """Commit, versions, machine and date."""
    run = run_metadata(None)
    return {
        "commit": run["commit"],
        "torch": run["packages"]["torch"],
        "machine": f"{cpu_name()}, {run['cpu_count']} cores, {run['threads']} used",
        "date": datetime.now(UTC).date().isoformat(),
    }


def cpu_name() -> str:
    """Name of the processor's model, as Linux gives it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def read_all(results: Path) -> list[Measured]:
    """Every result of a folder, whatever its settings, sorted by name."""
    records = (read_record(path) for path in sorted(results.rglob("*.json")))
    return [
        Measured((table, data, row, seed), record["result"], record["cpu_seconds"], record["run"])
        for record in records
        if record is not None
        for table, data, row, seed in [record["key"]]
    ]


def estimate(missing: Iterable[Cell], measured: Sequence[Measured], guesses: Mapping[str, float]) -> float:
    """CPU seconds of cells: the mean of the same row and data, else of the row, else of the table, else a guess."""
    return sum(_expected(cell, measured, guesses) for cell in missing)


def _expected(cell: Cell, measured: Sequence[Measured], guesses: Mapping[str, float]) -> float:
    names = (cell.table, cell.data, cell.row)
    for positions in ((0, 1, 2), (0, 2), (0,)):
        alike = [m.cpu_seconds for m in measured if all(m.key[i] == names[i] for i in positions)]
        if alike:
            return sum(alike) / len(alike)
    return guesses[cell.table]


def over_seeds(make: Callable[[int], Iterable[Cell]], seeds: Iterable[int]) -> Iterator[Cell]:
    """The cells of each seed, one seed after the other."""
    return itertools.chain.from_iterable(make(seed) for seed in seeds)
