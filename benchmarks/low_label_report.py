"""Tables, curves and raw numbers of the benchmark `low_label.py`."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cutler_pl.commands.instantiate import SCRATCH
from cutler_pl.runtime.environment import run_metadata
from cutler_pl.runtime.files import write_json
from cutler_pl.visual.colors import line_color
from cutler_pl.visual.curves import Curve, plot_curves

METRICS = {"bbox/AP": "box AP", "bbox/AP50": "box AP50", "segm/AP": "mask AP", "segm/AP50": "mask AP50"}
PRETRAINED = "pretrained"
ARMS = (SCRATCH, PRETRAINED)

Points = dict[str, dict[str, float]]
"""Metric by step, by name of the metric; the steps are strings, as in JSON."""


@dataclass(frozen=True)
class Result:
    """Metrics of one training."""

    seed: int
    percent: float
    arm: str
    points: Points
    seconds: float


def with_start(result: Result, before: Mapping[str, float]) -> Result:
    """The result with the metrics before the first step."""
    points = {name: {"0": before[name], **result.points[name]} for name in METRICS}
    return Result(result.seed, result.percent, result.arm, points, result.seconds)


def write_raw(path: Path, results: Sequence[Result], sources: Mapping[int, str], budget: Mapping[str, Any]) -> None:
    """All numbers, and how they were made."""
    content = {
        "budget": dict(budget),
        "pretrained": {str(seed): source for seed, source in sources.items()},
        "run": run_metadata(None),
        "results": [vars(result) for result in results],
    }
    write_json(path, content, indent=2)


def groups(results: Sequence[Result]) -> Iterator[tuple[float, str, list[Result]]]:
    """Share, arm and the results of all seeds, shares ascending, scratch first."""
    keys = sorted({(r.percent, ARMS.index(r.arm)) for r in results})
    for percent, arm in keys:
        yield percent, ARMS[arm], [r for r in results if (r.percent, r.arm) == (percent, ARMS[arm])]


def over_seeds(results: Sequence[Result], metric: str) -> dict[int, list[float]]:
    """Values of all seeds by step."""
    return {int(step): [r.points[metric][step] for r in results] for step in results[0].points[metric]}


def report(results: Sequence[Result], sources: Mapping[int, str], budget: Mapping[str, Any]) -> None:
    """Print where the weights are from, the table, and the curves."""
    print(
        f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, one used; torch {torch.__version__}"
    )
    for seed, source in sources.items():
        print(f"pretrained weights of seed {seed}: {source}")
    seconds = [result.seconds for result in results]
    print(f"{len(results)} trainings of {budget['steps']} steps, {min(seconds):.0f} to {max(seconds):.0f} s each")
    print_table(results)
    print_curves(results, "bbox/AP50")
    print_curves(results, "segm/AP50")


def print_table(results: Sequence[Result]) -> None:
    """Mean and range over the seeds, at every measured step."""
    print("\nmean over the seeds (smallest to largest), percent\n")
    print(f"| labels | start | step | {' | '.join(METRICS.values())} |\n|---|---|---|{'---|' * 4}")
    for percent, arm, group in groups(results):
        by_metric = {name: over_seeds(group, name) for name in METRICS}
        for step in by_metric["bbox/AP"]:
            cells = [mean_and_range(by_metric[name][step]) for name in METRICS]
            print(f"| {percent:g} % | {arm} | {step} | {' | '.join(cells)} |")


def mean_and_range(values: Sequence[float]) -> str:
    """Mean (smallest to largest); of one value only itself."""
    mean = f"{np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f}–{max(values):.1f})"


def print_curves(results: Sequence[Result], metric: str) -> None:
    """The means as bars, one character for 2 %."""
    print(f"\n{METRICS[metric]} over training steps, mean over the seeds")
    for percent, arm, group in groups(results):
        print(f"{percent:g} % labelled, {arm}")
        for step, values in over_seeds(group, metric).items():
            print(f"  {step:>5} {'#' * round(np.mean(values) / 2):<50} {np.mean(values):5.1f}")


def draw(results: Sequence[Result], *, quick: bool) -> Any:
    """Box AP50 of all arms over the steps: mean of the seeds as a line, smallest to largest as a band."""
    by_name = {f"{p:g} % labelled, {arm}": over_seeds(group, "bbox/AP50") for p, arm, group in groups(results)}
    curves = {
        name: Curve(np.array(list(values), dtype=np.float64), np.array([np.mean(v) for v in values.values()]))
        for name, values in by_name.items()
    }
    seeds = len({result.seed for result in results})
    title = "few labels: from scratch and pretrained without labels" + (" (test of the script)" if quick else "")
    label = f"box AP50 (%), mean and range of {seeds} seeds" if seeds > 1 else "box AP50 (%)"
    figure = plot_curves(curves, title=title, y_label=label, x_label="step with labels", size_inches=(8.0, 4.5))
    axes = figure.axes[0]
    for index, values in enumerate(by_name.values()):
        low, high = [min(v) for v in values.values()], [max(v) for v in values.values()]
        axes.fill_between(list(values), low, high, color=line_color(index) / 255, alpha=0.15, linewidth=0)
    axes.set_ylim(bottom=0)
    return figure
