"""Curves of losses and metrics from the `metrics.csv` of Lightning's CSV logger.

Figures use matplotlib's objects without pyplot, a transparent ground and mid-grey text for light and dark pages. Equal
values give equal bytes.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cutler_pl.errors import DatasetNotFoundError
from cutler_pl.runtime.files import atomic_write
from cutler_pl.visual.colors import line_color

_INK = "#767676"  # contrast 4.5 with white and 4.6 with black
_DASHES = ("-", "--", "-.", ":")
_INKED = ("axes.edgecolor", "axes.labelcolor", "grid.color", "text.color", "xtick.color", "ytick.color")
STYLE: dict[Any, Any] = dict.fromkeys(_INKED, _INK) | {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 13.0,
    "axes.titleweight": "bold",
    "font.family": ["DejaVu Sans"],  # the one font that matplotlib brings along
    "font.size": 11.0,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "cutler_pl",
    "text.parse_math": False,  # a "$" in a metric's name is a "$"
    "text.usetex": False,
}


@dataclass(frozen=True)
class Curve:
    """One value over training steps, in the order of the steps."""

    steps: Float[np.ndarray, " points"]
    values: Float[np.ndarray, " points"]


def read_metrics(source: str | Path | Sequence[str | Path]) -> dict[str, Curve]:
    """Curves of one run by metric name, sorted, without `epoch` and cells that are not numbers.

    Args:
        source: A `metrics.csv`, or those of a resumed run, oldest first: a later file replaces equal steps.

    Raises:
        DatasetNotFoundError: A file is missing, or none holds a metric.
    """
    paths = [source] if isinstance(source, str | Path) else list(source)
    points: dict[str, dict[float, float]] = {}
    for path in map(Path, paths):
        if not path.is_file():
            raise DatasetNotFoundError(f"{path}: no such file; expected the metrics.csv of a training run")
        for step, name, value in _cells(path):
            points.setdefault(name, {})[step] = value
    if not points:
        names = ", ".join(map(str, paths))
        raise DatasetNotFoundError(f"{names}: no metrics in it; expected a column `step` and one column per metric")
    return {name: Curve(*np.array(sorted(points[name].items()), dtype=np.float64).T) for name in sorted(points)}


def select_curves(curves: Mapping[str, Curve], *patterns: str) -> dict[str, Curve]:
    """Curves whose name matches a shell pattern, in the order of the patterns."""
    return {name: curves[name] for pattern in patterns for name in curves if fnmatchcase(name, pattern)}


def plot_curves(
    curves: Mapping[str, Curve],
    *,
    title: str,
    y_label: str,
    x_label: str = "training step",
    size_inches: tuple[float, float] = (8.0, 4.0),
) -> Figure:
    """Draw curves in one figure, to be saved with `save_figure`.

    Args:
        curves: Curves by legend name.
        y_label: Quantity with its unit, such as "AP50 (%)".
        x_label: Quantity of the horizontal axis.
        size_inches: Width and height at 100 pixels per inch.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size_inches, dpi=100, layout="constrained")
        axes = figure.add_subplot(title=title, xlabel=x_label, ylabel=y_label)
        axes.grid(alpha=0.25, linewidth=0.6)
        for index, (name, curve) in enumerate(curves.items()):
            color = "#{:02x}{:02x}{:02x}".format(*line_color(index).tolist())
            dash = _DASHES[index // 6 % len(_DASHES)]
            marker = "o" if len(curve.steps) <= 12 else ""
            style: Any = {"color": color, "linestyle": dash, "linewidth": 1.8, "marker": marker}
            axes.plot(curve.steps, curve.values, label=name, **style)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 2.5, 5, 10]))
        if curves:
            beside = len(curves) > 4
            axes.legend(loc="center left" if beside else "best", bbox_to_anchor=(1.0, 0.5) if beside else None)
    return figure


def save_figure(path: str | Path, figure: Figure) -> None:
    """Write a figure atomically as SVG or PNG, by the suffix."""
    kind = Path(path).suffix.lower().removeprefix(".")
    metadata = {"Date": None, "Creator": "cutler_pl"} if kind == "svg" else {"Software": "cutler_pl"}
    with mpl.rc_context(STYLE), atomic_write(path) as temporary:
        figure.savefig(temporary, format=kind, transparent=True, metadata=metadata)


def _cells(path: Path) -> Iterator[tuple[float, str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            step = _number(row.get("step"))
            for name in row.keys() - {"step", "epoch", None}:
                value = _number(row[name])
                if step is not None and value is not None:
                    yield step, name, value


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
