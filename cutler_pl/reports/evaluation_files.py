"""The metrics of a run as JSON, Markdown, CSV and TeX, beside the published ones."""

import csv
import io
from pathlib import Path

from cutler_pl.evaluation.metrics import NOT_MEASURED
from cutler_pl.evaluation.published import semi_supervised, zero_shot
from cutler_pl.reports.evaluation_tables import SUPERVISED, TITLES, Report, all_tables
from cutler_pl.reports.tables import markdown_table, markdown_text, tex_table
from cutler_pl.runtime.files import write_json, write_text


def write_report(folder: str | Path, report: Report) -> None:
    """Write `results.json`, `report.md`, `report.csv`, `report.tex`, and `categories.json` with classes."""
    folder = Path(folder)
    write_json(folder / "results.json", report.results, indent=2)
    if report.categories:
        write_json(folder / "categories.json", report.categories, indent=2)
    write_text(folder / "report.md", to_markdown(report))
    write_text(folder / "report.csv", to_csv(report))
    write_text(folder / "report.tex", to_tex(report))


def to_markdown(report: Report) -> str:
    """All tables, each under a heading."""
    parts = [f"# Evaluation of {markdown_text(report.method)}\n"]
    for table in all_tables(report):
        notes = [f"{markdown_text(note)}\n" for note in table.notes]
        parts += [f"## {markdown_text(table.title)}\n", *notes, markdown_table(table)]
    return "\n".join(parts)


def to_tex(report: Report) -> str:
    """All tables as floats for a paper."""
    return "\n".join([r"% \usepackage{booktabs}", *map(tex_table, all_tables(report))]) + "\n"


def to_csv(report: Report) -> str:
    """One line per value: published ones, this run's, and differences as method "<this run> − <method>"."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "dataset", "of", "metric", "value"])
    published = list(_published_values(report))
    writer.writerows(published)
    for dataset, metrics in report.results.items():
        for kind, values in metrics.items():
            for metric, value in values.items():
                shown = "" if value == NOT_MEASURED else repr(value)
                writer.writerow([report.method, dataset, TITLES[kind], metric, shown])
    kinds = {title: kind for kind, title in TITLES.items()}
    for method, dataset, of, metric, theirs in published:
        ours = report.results[dataset].get(kinds[of], {}).get(metric, NOT_MEASURED)  # type: ignore[call-overload]
        if ours != NOT_MEASURED:
            writer.writerow([f"{report.method} − {method}", dataset, of, metric, repr(ours - theirs)])
    return out.getvalue()


def _published_values(report: Report) -> list[tuple[str, str, str, str, float]]:
    values = [
        (method, dataset, "box", metric, value)
        for method, row in zero_shot().methods.items()
        for dataset, pair in row.items()
        if dataset in report.results
        for metric, value in zip(("AP50", "AR100"), pair, strict=True)
    ]
    if SUPERVISED in report.results and SUPERVISED in report.categories and report.label_percent is not None:
        values += [
            (f"{method}, {percentage} % of labels", SUPERVISED, of, "AP", value)
            for method, row in semi_supervised().methods.items()
            for percentage, pair in row.items()
            if percentage == report.label_percent
            for of, value in zip(("box", "mask"), pair, strict=True)
        ]
    return values
