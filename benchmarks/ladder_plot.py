"""The plots of the ladder: speed against quality of raw masks, and what each row of the comparisons gains."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from ladder_cells import Measured
from ladder_report import MIN_SEEDS, Comparison, pair
from ladder_rows import GENERATORS
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from cutler_pl.visual.colors import line_color
from cutler_pl.visual.curves import Curve, plot_curves


def plot_speed(measured: Sequence[Measured]) -> Figure:
    """A line per generator, from the CPU time of its cut to that with features and refinement, at its box AP50."""
    found = {row: [m.result for m in measured if m.key[:3] == ("masks", "middle", row)] for row in GENERATORS}
    found = {row: results for row, results in found.items() if results}
    figure = plot_curves(
        {row: _line(results) for row, results in found.items()},
        title="raw masks on generated scenes",
        y_label="box AP50 (%), mean and range of the seeds",
        x_label="CPU seconds per image: the cut alone, and with features and refinement",
        size_inches=(8.0, 4.5),
    )
    axes = figure.axes[0]
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    for index, results in enumerate(found.values()):
        line = _line(results)
        quality = [one["bbox"]["AP50"] for one in results]
        color = line_color(index) / 255
        axes.vlines(line.steps[0], min(quality), max(quality), color=color, linewidth=1.2, alpha=0.6)
    return figure


def plot_differences(measured: Sequence[Measured], comparisons: Sequence[Comparison]) -> Figure:
    """A line per comparison of detectors: the seeds as points, the mean with twice its standard error as a bar."""
    found = [(one, pair(measured, one)[1]) for one in comparisons if one.table == "detectors"]
    found = [(one, difference) for one, difference in found if len(difference.values) >= MIN_SEEDS]
    figure = plot_curves(
        {},
        title="detectors",
        y_label="",
        x_label="difference in box AP50",
        size_inches=(8.0, 1.2 + 0.3 * len(found)),
    )
    axes = figure.axes[0]
    for y, (_, difference) in enumerate(reversed(found)):
        color = line_color(0) / 255
        axes.errorbar(difference.mean, y, xerr=2 * difference.error, color=color, marker="o", capsize=3)
        axes.plot(difference.values, [y] * len(difference.values), "|", color=line_color(1) / 255, markersize=9)
    axes.axvline(0, color="grey", linewidth=1)
    axes.set_yticks(range(len(found)), [f"{one.row} − {one.baseline}" for one, _ in reversed(found)], fontsize=8)
    return figure


def _line(results: Sequence[dict[str, Any]]) -> Curve:
    parts = [one["seconds_per_image"] for one in results]
    cut, whole = (statistics.fmean(of) for of in ([p["cut"] for p in parts], [sum(p.values()) for p in parts]))
    quality = statistics.fmean(one["bbox"]["AP50"] for one in results)
    return Curve(np.array([cut, whole]), np.array([quality, quality]))
