"""The table of `dry_run=true`: the stages of a recipe, what they read and write, and what they will take."""

from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from cutler_pl.commands.console import print_table
from cutler_pl.commands.recipe.estimate import NOT_MEASURED, Amount, make_estimator
from cutler_pl.commands.recipe.markers import read_marker
from cutler_pl.commands.recipe.stages import Stage, fingerprints
from cutler_pl.reports.tables import Table
from cutler_pl.runtime.durations import format_duration

_READ = ("input", "images", "annotations", "data.images", "checkpoint", "predictions")
_HEADER = ["stage", "reads", "writes", "images", "time", "(from)", "disk", "(from)", "state"]


def print_plan(cfg: DictConfig, stages: Sequence[Stage]) -> None:
    """Print the table; the settings of every stage are checked, and nothing is written.

    Raises:
        ConfigError: A setting of a stage cannot work.
    """
    markers = [read_marker(stage, its) for stage, its in zip(stages, fingerprints(stages), strict=True)]
    estimator = make_estimator(cfg, stages, markers)
    times, disks = [[how(stage) for stage in stages] for how in (estimator.time, estimator.disk)]
    rows: list[list[str]] = []
    for stage, marker, time, disk in zip(stages, markers, times, disks, strict=True):
        work = estimator.work(stage)
        images = "" if work.images is None else f"{work.images:,}"
        images += f" ({work.steps:,} steps)" if work.steps is not None else ""
        cells = [_duration(time.value), time.source, _bytes(disk.value), disk.source, marker.state]
        reads = ", ".join(_reads(stage, stages))
        rows.append([stage.name, reads, f"stages/{stage.folder.name}", images, *cells])
    left = [time for time, marker in zip(times, markers, strict=True) if marker.state != "finished"]
    rows.append(["left to do", "", "", "", _sum(left, _duration), "", "", "", ""])
    rows.append(["all", "", "", "", _sum(times, _duration), "", _sum(disks, _bytes), "", ""])
    notes = [f"{cfg.recipe.output}; a dry run, nothing is written."]
    print_table(Table(_HEADER, rows, notes=notes, text_columns=len(_HEADER)))


def _reads(stage: Stage, stages: Sequence[Stage]) -> list[str]:
    """Earlier stages, and files and folders from outside."""
    found = [other.name for other in stages if other is not stage and stage.depends_on(other)]
    outside = (str(stage.overrides[name]) for name in _READ if name in stage.overrides)
    return [*(path for path in outside if Path(path).exists() and "/stages/" not in path), *found]


def _sum(amounts: Sequence[Amount], shown: Callable[[float], str]) -> str:
    known = [amount.value for amount in amounts if amount.value is not None]
    unknown = len(amounts) - len(known)
    parts = [shown(sum(known, 0.0))] if known or not unknown else []
    return " + ".join([*parts, *([f"{unknown} {NOT_MEASURED}"] if unknown else [])])


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)


def _bytes(size: float | None) -> str:
    if size is None:
        return ""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
