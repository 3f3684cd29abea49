"""The plot of the ladder: speed against quality of raw masks on the middle scenes."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from ladder_cells import Measured
from ladder_rows import GENERATORS
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from cutler_pl.visual.colors import line_color
from cutler_pl.visual.curves import Curve, plot_curves


def plot(measured: Sequence[Measured]) -> Figure:
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


def _line(results: Sequence[dict[str, Any]]) -> Curve:
    parts = [one["seconds_per_image"] for one in results]
    cut, whole = (statistics.fmean(of) for of in ([p["cut"] for p in parts], [sum(p.values()) for p in parts]))
    quality = statistics.fmean(one["bbox"]["AP50"] for one in results)
    return Curve(np.array([cut, whole]), np.array([quality, quality]))
