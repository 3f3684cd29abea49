"""One run's measures as JSON, Markdown, CSV and TeX, beside the published ones where these exist."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from cutler_pl.evaluation.metrics import NOT_MEASURED
from cutler_pl.evaluation.published import semi_supervised, zero_shot
from cutler_pl.reports.tables import NONE, SUPERVISED, TITLES, Report, TextTable, all_tables
from cutler_pl.runtime.files import write_json, write_text

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"$\vert$", "<": r"$<$", ">": r"$>$",
    "–": "--", "−": "$-$", "²": "$^2$", "…": r"\dots{}",
}  # fmt: skip


def write_report(folder: str | Path, report: Report) -> None:
    """Write `results.json`, `report.md`, `report.csv`, `report.tex`, and `categories.json` if classes were measured.

    Args:
        folder: Where to write; made where it is not there.
        report: What to tell.
    """
    folder = Path(folder)
    write_json(folder / "results.json", report.results, indent=2)
    if report.categories:
        write_json(folder / "categories.json", report.categories, indent=2)
    write_text(folder / "report.md", to_markdown(report))
    write_text(folder / "report.csv", to_csv(report))
    write_text(folder / "report.tex", to_tex(report))


def to_markdown(report: Report) -> str:
    """All tables, each under a heading."""
    parts = [f"# Evaluation of {report.method}\n"]
    for table in all_tables(report):
        parts += [f"## {table.title}\n", *(f"{note}\n" for note in table.notes), markdown_table(table)]
    return "\n".join(parts)


def markdown_table(table: TextTable) -> str:
    """A table in Markdown; the first column is text, the others are numbers."""
    lines = [table.header, ["---", *["---:"] * (len(table.header) - 1)]]
    for place, row in enumerate(table.rows):
        lines.append([cell if cell in ("", NONE) else f"**{cell}**" for cell in row] if place in table.strong else row)
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def to_tex(report: Report) -> str:
    """All tables as floats for a paper that uses the package booktabs."""
    parts = [r"% \usepackage{booktabs}"]
    for table in all_tables(report):
        caption = " ".join([f"{table.title}.", *table.notes])
        parts += [
            r"\begin{table}",
            r"\centering\small\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{tex_text(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"\toprule",
            _tex_row(table.header),
            r"\midrule",
            *(_tex_row(row, strong=place in table.strong) for place, row in enumerate(table.rows)),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    return "\n".join(parts) + "\n"


def tex_text(text: str) -> str:
    """Text with the characters escaped that TeX takes for commands; a minus before a number is set as one."""
    escaped = "".join(_TEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w$])-(?=\d)", "$-$", escaped)


def to_csv(report: Report) -> str:
    """One line for each number: method, dataset, box or mask, measure, value; published numbers first.

    Differences are this run's value less the published one, under the method "<this run> − <method>".
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "dataset", "of", "measure", "value"])
    published = list(_published_values(report))
    writer.writerows(published)
    for dataset, measures in report.results.items():
        for kind, values in measures.items():
            for measure, value in values.items():
                shown = "" if value == NOT_MEASURED else repr(value)
                writer.writerow([report.method, dataset, TITLES[kind], measure, shown])
    kinds = {title: kind for kind, title in TITLES.items()}
    for method, dataset, of, measure, theirs in published:
        ours = report.results[dataset].get(kinds[of], {}).get(measure, NOT_MEASURED)  # type: ignore[call-overload]
        if ours != NOT_MEASURED:
            writer.writerow([f"{report.method} − {method}", dataset, of, measure, repr(ours - theirs)])
    return out.getvalue()


def _published_values(report: Report) -> list[tuple[str, str, str, str, float]]:
    values = [
        (method, dataset, "box", measure, value)
        for method, row in zero_shot().methods.items()
        for dataset, pair in row.items()
        if dataset in report.results
        for measure, value in zip(("AP50", "AR100"), pair, strict=True)
    ]
    if SUPERVISED in report.results and SUPERVISED in report.categories and report.labels is not None:
        values += [
            (f"{method}, {percentage} % of labels", SUPERVISED, of, "AP", value)
            for method, row in semi_supervised().methods.items()
            for percentage, pair in row.items()
            if percentage == report.labels
            for of, value in zip(("box", "mask"), pair, strict=True)
        ]
    return values


def _tex_row(cells: Sequence[str], *, strong: bool = False) -> str:
    texts = [tex_text(cell) for cell in cells]
    return " & ".join(rf"\textbf{{{text}}}" if strong and text not in ("", "--") else text for text in texts) + r" \\"
