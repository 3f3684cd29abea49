"""One run's measures as Markdown, CSV and JSON, beside the published ones where these exist."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cutler_pl.evaluation.measures import NOT_MEASURED, IouType
from cutler_pl.evaluation.published import Pair, semi_supervised, zero_shot
from cutler_pl.runtime.files import write_json, write_text

Measures = Mapping[IouType, Mapping[str, float]]
"""By "bbox" and "segm", measures by name, as of `evaluate_coco`."""

REFERENCE = "CutLER, Cascade Mask R-CNN"
TITLES: dict[str, str] = {"bbox": "box", "segm": "mask"}


def write_report(folder: str | Path, results: Mapping[str, Measures], *, method: str = "this run") -> None:
    """Write `results.json`, `report.md` and `report.csv`.

    Args:
        folder: Where to write; made where it is not there.
        results: Measures by dataset; the catalogue's keys (coco, voc, …) are put beside the published numbers.
        method: Name of this run in the tables.
    """
    folder = Path(folder)
    write_json(folder / "results.json", results, indent=2)
    write_text(folder / "report.md", to_markdown(results, method=method))
    write_text(folder / "report.csv", to_csv(results, method=method))


def to_markdown(results: Mapping[str, Measures], *, method: str = "this run") -> str:
    """All measures of the run, then AP50 | AR100 of boxes beside the published table, with differences."""
    parts = [f"# Evaluation of {method}\n", "Percent; – where there is no ground truth of that size.\n"]
    parts.append(markdown_table(*measure_rows(results)))
    compared = [dataset for dataset in results if dataset in zero_shot().titles and "bbox" in results[dataset]]
    if compared:
        parts.append(f"\n## Beside the published numbers\n\nBoxes, AP50 | AR, from {zero_shot().source}.\n")
        parts.append(markdown_table(*published_rows(results, method=method)))
    return "\n".join(parts)


def measure_rows(results: Mapping[str, Measures], *, without: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of all measures: a row for each dataset and for boxes and masks.

    Args:
        results: Measures by dataset.
        without: Measures to leave out.
    """
    found = dict.fromkeys(name for measures in results.values() for row in measures.values() for name in row)
    names = [name for name in found if name not in without]
    rows = [
        [dataset, TITLES[kind], *(_number(row.get(name)) for name in names)]
        for dataset, measures in results.items()
        for kind, row in measures.items()
    ]
    return ["dataset", "of", *names], rows


def published_rows(results: Mapping[str, Measures], *, method: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the published table for the datasets of this run: methods, this run, its difference."""
    table = zero_shot()
    datasets = [key for key in table.titles if key in results and "bbox" in results[key]]
    ours = {key: (results[key]["bbox"]["AP50"], _recall(results[key]["bbox"])) for key in datasets}
    rows = [[name, *(_pair(row[key]) for key in datasets)] for name, row in table.methods.items()]
    rows.append([f"**{method}**", *(_pair(ours[key]) for key in datasets)])
    reference = table.methods[REFERENCE]
    rows.append([f"{method} − {REFERENCE}", *(_difference(ours[key], reference[key]) for key in datasets)])
    return ["method", *(table.titles[key] for key in datasets)], rows


def semi_supervised_rows(results: Mapping[int, Measures], *, method: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of box AP | mask AP by percentage of labels: published methods, then this run.

    Args:
        results: Per-class measures of COCO val2017 by percentage of labels.
        method: Name of this run in the table.
    """
    table = semi_supervised()
    percentages = list(table.methods["CutLER"])
    rows = [[name, *(_pair(row[p]) for p in percentages)] for name, row in table.methods.items()]
    ours = {p: (m["bbox"]["AP"], m["segm"]["AP"]) for p, m in results.items()}
    rows.append([f"**{method}**", *(_pair(ours[p]) if p in ours else "" for p in percentages)])
    return ["labels", *(f"{p} %" for p in percentages)], rows


def to_csv(results: Mapping[str, Measures], *, method: str = "this run") -> str:
    """One line for each number: method, dataset, box or mask, measure, value; published numbers first."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "dataset", "of", "measure", "value"])
    for name, row in zero_shot().methods.items():
        for dataset, pair in row.items():
            if dataset in results:
                writer.writerows([name, dataset, "box", m, v] for m, v in zip(("AP50", "AR100"), pair, strict=True))
    for dataset, measures in results.items():
        for kind, values in measures.items():
            for measure, value in values.items():
                shown = "" if value == NOT_MEASURED else repr(value)
                writer.writerow([method, dataset, TITLES[kind], measure, shown])
    return out.getvalue()


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _recall(measures: Mapping[str, float]) -> float:
    """AR100, or the recall with the most detections where there is no AR100."""
    counts = [name for name in measures if name.startswith("AR") and name[2:].isdigit()]
    return measures["AR100"] if "AR100" in measures else measures[max(counts, key=lambda name: int(name[2:]))]


def _number(value: float | None) -> str:
    return "" if value is None else "–" if value == NOT_MEASURED else f"{value:.1f}"


def _pair(values: Pair) -> str:
    return f"{_number(values[0])} | {_number(values[1])}"


def _difference(ours: Pair, reference: Pair) -> str:
    return " | ".join(
        "–" if a == NOT_MEASURED else f"{round(a, 1) - b:+.1f}" for a, b in zip(ours, reference, strict=True)
    )
