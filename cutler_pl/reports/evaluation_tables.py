"""Tables of an evaluation beside the published numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cutler_pl.evaluation.metrics import NOT_MEASURED, IouType, Metrics
from cutler_pl.evaluation.published import Pair, semi_supervised, zero_shot
from cutler_pl.reports.tables import NONE, Table, cell_text

SUPERVISED = "coco_80"
"""Dataset of the published semi-supervised table: COCO val2017 with 80 classes."""
TITLES: dict[str, str] = {"bbox": "box", "segm": "mask"}

_K = TypeVar("_K")
_SIZES = {"s": "small", "m": "medium", "l": "large"}


@dataclass(frozen=True)
class Report:
    """Results of one run.

    Attributes:
        results: Metrics by dataset, with the catalogue's names (coco, voc, …).
        method: Name of the run in the tables.
        missing: Reason by dataset that was not measured.
        counts: Images, objects (also by size: `objects_s` …), detections and records left out, by dataset.
        categories: Metrics of each category by dataset, for those measured by class.
        label_percent: Percentage of COCO's labels used in training, if known.
    """

    results: Mapping[str, Metrics]
    method: str = "this run"
    missing: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    categories: Mapping[str, Mapping[IouType, Mapping[str, Mapping[str, float]]]] = field(default_factory=dict)
    label_percent: int | float | None = None


def all_tables(report: Report) -> list[Table]:
    """All tables with rows, the comparison with published numbers first."""
    tables = [published_table(report), semi_supervised_table(report), metrics_table(report), sizes_table(report)]
    tables += [counts_table(report), *category_tables(report), missing_table(report)]
    return [table for table in tables if table.rows]


def published_table(report: Report) -> Table:
    """Class-agnostic AP50 | AR of boxes: published methods, this run, differences."""
    table = zero_shot()
    measured = {
        name: (row["bbox"]["AP50"], _recall(row["bbox"]))
        for name, row in report.results.items()
        if name in table.titles and "bbox" in row
    }
    if not measured:
        return Table([], [])
    columns = [name for name in table.titles if name in measured or name in report.missing]
    rows = [[method, *(_pair(row[name]) for name in columns)] for method, row in table.methods.items()]
    rows += _own_rows(report.method, table.methods, measured, columns)
    notes = (
        f"Boxes, all categories taken for one, in percent: AP50 | AR of the best 100 detections. From {table.source}.",
    )
    header = ["method", *(table.titles[name] for name in columns)]
    return Table(header, rows, "Beside the published numbers", notes, bold=frozenset({len(table.methods)}))


def semi_supervised_table(report: Report) -> Table:
    """Box | mask AP on COCO's 80 classes by percentage of labels: published methods, this run, differences."""
    row = report.results.get(SUPERVISED, {})
    if "bbox" not in row or "segm" not in row or SUPERVISED not in report.categories:
        return Table([], [])
    table = semi_supervised()
    methods = {m: {float(p): v for p, v in r.items()} for m, r in table.methods.items()}
    percentages = list(methods["CutLER"])
    header = ["labels", *(f"{p:g} %" for p in percentages)]
    place = float(report.label_percent) if report.label_percent is not None else NOT_MEASURED
    if place not in percentages:
        percentages.append(place)
        header.append("share not given" if report.label_percent is None else f"{place:g} %")
    rows = [[m, *(_pair(r[p]) if p in r else NONE for p in percentages)] for m, r in methods.items()]
    rows += _own_rows(report.method, methods, {place: (row["bbox"]["AP"], row["segm"]["AP"])}, percentages)
    notes = (
        f"COCO val2017, 80 classes, in percent: box AP | mask AP by the share of labels. From {table.source}.",
        *(() if report.label_percent is not None else ("label_percent=<percent> puts this run into its column.",)),
    )
    return Table(header, rows, "Learning from few labels", notes, bold=frozenset({len(methods)}))


def metrics_table(report: Report) -> Table:
    """All metrics except AR by size, one row per dataset and for boxes and masks."""
    rows = report.results
    found = dict.fromkeys(name for metrics in rows.values() for row in metrics.values() for name in row)
    names = [name for name in found if name not in ("ARs", "ARm", "ARl")]
    cells = [
        [dataset, TITLES[kind], *(number(row.get(name)) for name in names)]
        for dataset, metrics in rows.items()
        for kind, row in metrics.items()
    ]
    notes = (f"In percent; {NONE} where there is no ground truth of that size.",)
    return Table(["dataset", "of", *names], cells, "All metrics", notes, text_columns=2)


def sizes_table(report: Report) -> Table:
    """Number of objects, AP and AR by size."""
    names = [f"{what}{size}" for what in ("AP", "AR") for size in _SIZES]
    rows = []
    for dataset, metrics in report.results.items():
        counts = report.counts.get(dataset, {})
        objects = [str(counts.get(f"objects_{size}", NONE)) for size in _SIZES]
        rows += [
            [dataset, TITLES[kind], *objects, *(number(row.get(name)) for name in names)]
            for kind, row in metrics.items()
        ]
    notes = ("By the area in pixels: small up to 32², medium up to 96², large above. AR of the most detections.",)
    header = ["dataset", "of", *(f"{title} objects" for title in _SIZES.values()), *names]
    return Table(header, rows, "By size of the objects", notes, text_columns=2)


def counts_table(report: Report) -> Table:
    """Counts of what was compared and left out."""
    names = dict.fromkeys(
        name for counts in report.counts.values() for name in counts if not name.startswith("objects_")
    )
    rows = [[dataset, *(str(counts.get(name, NONE)) for name in names)] for dataset, counts in report.counts.items()]
    return Table(["dataset", *(name.replace("_", " ") for name in names)], rows, "What was compared")


def category_tables(report: Report) -> list[Table]:
    """AP and AP50 of every category, for each dataset measured by class."""
    tables = []
    for dataset, kinds in report.categories.items():
        header = ["category", *(f"{TITLES[kind]} {metric}" for kind in kinds for metric in ("AP", "AP50"))]
        names = dict.fromkeys(name for by_name in kinds.values() for name in by_name)
        rows = [
            [name, *(number(by_name[name].get(m)) for by_name in kinds.values() for m in ("AP", "AP50"))]
            for name in names
        ]
        tables.append(Table(header, rows, f"Each category of {dataset}"))
    return tables


def missing_table(report: Report) -> Table:
    """The datasets that were not measured, and why."""
    return Table(["dataset", "why"], list(report.missing.items()), "Not measured", text_columns=2)


def number(value: float | None) -> str:
    """A percentage as text."""
    return "" if value is None else cell_text(None if value == NOT_MEASURED else float(value))


def _own_rows(
    method: str, published: Mapping[str, Mapping[_K, Pair]], ours: Mapping[_K, Pair], columns: Sequence[_K]
) -> list[list[str]]:
    rows = [[method, *(_pair(ours[key]) if key in ours else NONE for key in columns)]]
    for name, theirs in published.items():
        cells = [_difference(ours[key], theirs[key]) if key in ours and key in theirs else NONE for key in columns]
        rows.append([f"{method} − {name}", *cells])
    return rows


def _recall(metrics: Mapping[str, float]) -> float:
    """AR100, or the recall with the most detections where there is no AR100."""
    counts = [name for name in metrics if name.startswith("AR") and name[2:].isdigit()]
    return metrics["AR100"] if "AR100" in metrics else metrics[max(counts, key=lambda name: int(name[2:]))]


def _pair(values: Pair) -> str:
    return f"{number(values[0])} | {number(values[1])}"


def _difference(ours: Pair, reference: Pair) -> str:
    return " | ".join(
        NONE if a == NOT_MEASURED else f"{round(a, 1) - b:+.1f}" for a, b in zip(ours, reference, strict=True)
    )
