"""Figures of a calibration: a criterion over τ, and reliability diagrams of scores."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int64
from matplotlib.figure import Figure

from cutler_pl.visual.colors import line_color
from cutler_pl.visual.curves import STYLE


@runtime_checkable
class Diagram(Protocol):
    """A reliability diagram in bins of equal width from 0 to 1, as of `evaluation.calibration.reliability`."""

    @property
    def counts(self) -> Int64[np.ndarray, " bins"]:
        """Masks in each bin."""
        ...

    @property
    def mean_scores(self) -> Float[np.ndarray, " bins"]:
        """Mean score of each; NaN in an empty one."""
        ...

    @property
    def precisions(self) -> Float[np.ndarray, " bins"]:
        """Share of right masks of each; NaN in an empty one."""
        ...

    @property
    def expected_error(self) -> float:
        """Expected calibration error."""
        ...


def plot_criterion(
    values: Sequence[float],
    measured: Sequence[float],
    errors: Sequence[float],
    *,
    marked: Mapping[str, float],
    labels: tuple[str, str],
) -> Figure:
    """A criterion over τ, with the standard error of its difference from the best.

    Args:
        values: Of τ, rising.
        measured: The criterion at each.
        errors: Standard errors.
        marked: Values to mark by a vertical line, by what the legend calls them.
        labels: Of the two axes.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.6), dpi=100, layout="constrained")
        axes = figure.add_subplot(xlabel=labels[0], ylabel=labels[1])
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.errorbar(values, measured, yerr=errors, color=_color(0), marker="o", linewidth=1.8, capsize=3)
        for number, (name, value) in enumerate(marked.items(), start=1):
            axes.axvline(value, color=_color(number), linestyle=("--", ":")[number % 2], linewidth=1.8, label=name)
        axes.legend(loc="best")
    return figure


def plot_reliability(diagrams: Mapping[str, Diagram]) -> Figure:
    """Reliability diagrams side by side: the share of right masks over their scores, and how many masks there are.

    Args:
        diagrams: By title.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(diagrams), 4.6), dpi=100, layout="constrained")
        grid = figure.subplots(2, len(diagrams), squeeze=False, sharex=True, height_ratios=[3, 1])
        most = max(int(diagram.counts.max()) for diagram in diagrams.values())
        for column, (title, diagram) in enumerate(diagrams.items()):
            share, counts = grid[0][column], grid[1][column]
            edges = np.linspace(0, 1, len(diagram.counts) + 1)
            used = diagram.counts > 0
            share.set_title(f"{title}: error {diagram.expected_error:.3f}")
            share.plot([0, 1], [0, 1], color=STYLE["text.color"], linestyle=":", linewidth=1.2)
            share.bar(
                edges[:-1], np.nan_to_num(diagram.precisions), width=np.diff(edges), align="edge", alpha=0.35,
                color=_color(0), edgecolor=_color(0),
            )  # fmt: skip
            share.plot(diagram.mean_scores[used], diagram.precisions[used], "o", color=_color(1))
            share.set(ylim=(0, 1.02), xlim=(0, 1), ylabel="share of right masks" if column == 0 else "")
            counts.bar(edges[:-1], diagram.counts, width=np.diff(edges), align="edge", color=_color(0), alpha=0.35)
            for edge, count in zip(edges, diagram.counts.tolist(), strict=False):
                counts.text(edge + edges[1] / 2, count, str(count), ha="center", va="bottom", fontsize=9)
            counts.set(xlabel="score", ylim=(0, 1.3 * max(1, most)), ylabel="masks" if column == 0 else "")
    return figure


def _color(number: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*line_color(number).tolist())
