"""The tables of an evaluation as text cells, before any of them becomes Markdown, TeX or a web page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cutler_pl.evaluation.metrics import NOT_MEASURED, IouType, Measures
from cutler_pl.evaluation.published import Pair, semi_supervised, zero_shot

SUPERVISED = "coco_80"
"""The dataset that the published semi-supervised table is about: COCO val2017 with its 80 classes."""
TITLES: dict[str, str] = {"bbox": "box", "segm": "mask"}
NONE = "–"

_K = TypeVar("_K")
_SIZES = {"s": "small", "m": "medium", "l": "large"}


@dataclass(frozen=True)
class Report:
    """What a report tells of one run.

    Attributes:
        results: Measures by dataset; the catalogue's names (coco, voc, …) are put beside the published numbers.
        method: Name of the run in the tables.
        missing: Datasets that were asked for and not measured, and why.
        counts: By dataset: images, objects (also by size, as `objects_s` …), detections and what was left out.
        categories: Measures of each category by dataset, for those measured by class.
        labels: Percentage of COCO's labels the detector was trained with, None where it is not known.
    """

    results: Mapping[str, Measures]
    method: str = "this run"
    missing: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    categories: Mapping[str, Mapping[IouType, Mapping[str, Mapping[str, float]]]] = field(default_factory=dict)
    labels: int | float | None = None


@dataclass(frozen=True)
class TextTable:
    """A table of text; the first column names the rows.

    Attributes:
        title: What the table is about.
        header: Headings.
        rows: Cells, one a heading.
        notes: Sentences that belong to it.
        strong: Numbers of the rows that stand out.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    strong: frozenset[int] = frozenset()


def all_tables(report: Report) -> list[TextTable]:
    """Every table there is something to say in, the comparison with the published numbers first."""
    tables = [published_table(report), semi_supervised_table(report), measures_table(report), sizes_table(report)]
    tables += [counts_table(report), *category_tables(report), missing_table(report)]
    return [table for table in tables if table.rows]


def published_table(report: Report) -> TextTable:
    """AP50 | AR of boxes without labels: a row for each published method, this run, its difference from each."""
    table = zero_shot()
    measured = {
        name: (row["bbox"]["AP50"], _recall(row["bbox"]))
        for name, row in report.results.items()
        if name in table.titles and "bbox" in row
    }
    if not measured:
        return TextTable("", [], [])
    columns = [name for name in table.titles if name in measured or name in report.missing]
    rows = [[method, *(_pair(row[name]) for name in columns)] for method, row in table.methods.items()]
    rows += _own_rows(report.method, table.methods, measured, columns)
    notes = (
        f"Boxes, all categories taken for one, in percent: AP50 | AR of the best 100 detections. From {table.source}.",
    )
    header = ["method", *(table.titles[name] for name in columns)]
    return TextTable("Beside the published numbers", header, rows, notes, frozenset({len(table.methods)}))


def semi_supervised_table(report: Report) -> TextTable:
    """Box | mask AP over COCO's 80 classes by percentage of labels: published methods, this run, its differences."""
    row = report.results.get(SUPERVISED, {})
    if "bbox" not in row or "segm" not in row or SUPERVISED not in report.categories:
        return TextTable("", [], [])
    table = semi_supervised()
    methods = {m: {float(p): v for p, v in r.items()} for m, r in table.methods.items()}
    percentages = list(methods["CutLER"])
    header = ["labels", *(f"{p:g} %" for p in percentages)]
    place = float(report.labels) if report.labels is not None else NOT_MEASURED
    if place not in percentages:
        percentages.append(place)
        header.append("share not given" if report.labels is None else f"{place:g} %")
    rows = [[m, *(_pair(r[p]) if p in r else NONE for p in percentages)] for m, r in methods.items()]
    rows += _own_rows(report.method, methods, {place: (row["bbox"]["AP"], row["segm"]["AP"])}, percentages)
    notes = (
        f"COCO val2017, 80 classes, in percent: box AP | mask AP by the share of labels. From {table.source}.",
        *(() if report.labels is not None else ("labels=<percent> puts this run into its column.",)),
    )
    return TextTable("Learning from few labels", header, rows, notes, frozenset({len(methods)}))


def measures_table(report: Report, *, without: Sequence[str] = ("ARs", "ARm", "ARl")) -> TextTable:
    """All measures of the run: a row for each dataset and for boxes and masks.

    Args:
        report: The run.
        without: Measures to leave out.
    """
    rows = report.results
    found = dict.fromkeys(name for measures in rows.values() for row in measures.values() for name in row)
    names = [name for name in found if name not in without]
    cells = [
        [dataset, TITLES[kind], *(number(row.get(name)) for name in names)]
        for dataset, measures in rows.items()
        for kind, row in measures.items()
    ]
    notes = (f"In percent; {NONE} where there is no ground truth of that size.",)
    return TextTable("All measures", ["dataset", "of", *names], cells, notes)


def sizes_table(report: Report) -> TextTable:
    """How many small, medium and large objects there are, and AP and AR of each size."""
    names = [f"{what}{size}" for what in ("AP", "AR") for size in _SIZES]
    rows = []
    for dataset, measures in report.results.items():
        counts = report.counts.get(dataset, {})
        objects = [str(counts.get(f"objects_{size}", NONE)) for size in _SIZES]
        rows += [
            [dataset, TITLES[kind], *objects, *(number(row.get(name)) for name in names)]
            for kind, row in measures.items()
        ]
    notes = ("By the area in pixels: small up to 32², medium up to 96², large above. AR of the most detections.",)
    header = ["dataset", "of", *(f"{title} objects" for title in _SIZES.values()), *names]
    return TextTable("By size of the objects", header, rows, notes)


def counts_table(report: Report) -> TextTable:
    """What was compared, and what was left out."""
    names = dict.fromkeys(
        name for counts in report.counts.values() for name in counts if not name.startswith("objects_")
    )
    rows = [[dataset, *(str(counts.get(name, NONE)) for name in names)] for dataset, counts in report.counts.items()]
    return TextTable("What was compared", ["dataset", *(name.replace("_", " ") for name in names)], rows)


def category_tables(report: Report) -> list[TextTable]:
    """For each dataset measured by class, AP and AP50 of every category."""
    tables = []
    for dataset, kinds in report.categories.items():
        header = ["category", *(f"{TITLES[kind]} {measure}" for kind in kinds for measure in ("AP", "AP50"))]
        names = dict.fromkeys(name for by_name in kinds.values() for name in by_name)
        rows = [
            [name, *(number(by_name[name].get(m)) for by_name in kinds.values() for m in ("AP", "AP50"))]
            for name in names
        ]
        tables.append(TextTable(f"Each category of {dataset}", header, rows))
    return tables


def missing_table(report: Report) -> TextTable:
    """The datasets that were not measured, and why."""
    return TextTable("Not measured", ["dataset", "why"], [[name, why] for name, why in report.missing.items()])


def number(value: float | None) -> str:
    """A percentage as text."""
    return "" if value is None else NONE if value == NOT_MEASURED else f"{value:.1f}"


def _own_rows(
    method: str, published: Mapping[str, Mapping[_K, Pair]], ours: Mapping[_K, Pair], columns: Sequence[_K]
) -> list[list[str]]:
    rows = [[method, *(_pair(ours[key]) if key in ours else NONE for key in columns)]]
    for name, theirs in published.items():
        cells = [_difference(ours[key], theirs[key]) if key in ours and key in theirs else NONE for key in columns]
        rows.append([f"{method} − {name}", *cells])
    return rows


def _recall(measures: Mapping[str, float]) -> float:
    """AR100, or the recall with the most detections where there is no AR100."""
    counts = [name for name in measures if name.startswith("AR") and name[2:].isdigit()]
    return measures["AR100"] if "AR100" in measures else measures[max(counts, key=lambda name: int(name[2:]))]


def _pair(values: Pair) -> str:
    return f"{number(values[0])} | {number(values[1])}"


def _difference(ours: Pair, reference: Pair) -> str:
    return " | ".join(
        NONE if a == NOT_MEASURED else f"{round(a, 1) - b:+.1f}" for a, b in zip(ours, reference, strict=True)
    )
