"""Tables for pages, Markdown, TeX and the console."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Cell = str | int | float | None

NONE = "–"
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"$\vert$", "<": r"$<$", ">": r"$>$",
    "–": "--", "−": "$-$", "²": "$^2$", "…": r"\dots{}",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows of cells: leading text columns, then numbers.

    Attributes:
        rows: Cells; None and NaN are shown as "–", floats with one decimal.
        notes: Sentences on units and sources.
        text_columns: Number of leading text columns.
        bold: Indices of bold rows.
        best: The number of each column to mark as best, if any.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    notes: Sequence[str] = ()
    text_columns: int = 1
    bold: frozenset[int] = frozenset()
    best: Literal["highest", "lowest"] | None = None

    @property
    def texts(self) -> list[list[str]]:
        """The rows as they are shown."""
        return [[cell_text(cell) for cell in row] for row in self.rows]

    @property
    def best_cells(self) -> set[tuple[int, int]]:
        """Row and column of the best numbers; numbers that are shown equal are equally good."""
        if self.best is None:
            return set()
        pick = max if self.best == "highest" else min
        found = set()
        for c in range(self.text_columns, len(self.header)):
            column = {r: row[c] for r, row in enumerate(self.rows)}
            numbers = {r: v for r, v in column.items() if isinstance(v, int | float) and math.isfinite(v)}
            if len(numbers) > 1:
                top = cell_text(pick(numbers.values()))
                found |= {(r, c) for r, v in numbers.items() if cell_text(v) == top}
        return found


def markdown_table(table: Table) -> str:
    """A table in Markdown, without title and notes."""
    texts = table.text_columns
    lines = [["---"] * texts + ["---:"] * (len(table.header) - texts)]
    for place, row in enumerate(table.texts):
        cells = [markdown_text(cell) for cell in row]
        lines.append([f"**{cell}**" if place in table.bold and cell not in ("", NONE) else cell for cell in cells])
    lines.insert(0, [markdown_text(name) for name in table.header])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def markdown_text(text: str) -> str:
    """Text on one line in which nothing is taken for Markdown or HTML; underscores inside words need no escape."""
    escaped = re.sub(r"([\\`*<>\[\]|&$~]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", text)
    return " ".join(escaped.split())


def tex_table(table: Table) -> str:
    """A table as a float for a paper that uses the package booktabs."""
    columns = "l" * table.text_columns + "r" * (len(table.header) - table.text_columns)
    lines = [
        r"\begin{table}",
        r"\centering\small\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{tex_text(' '.join([f'{table.title}.', *table.notes]))}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _tex_row(table.header),
        r"\midrule",
        *(_tex_row(row, bold=place in table.bold) for place, row in enumerate(table.texts)),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def tex_text(text: str) -> str:
    """Text with the characters escaped that TeX takes for commands; a minus before a number is set as one."""
    escaped = "".join(_TEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w$])-(?=\d)", "$-$", escaped)


def _tex_row(cells: Sequence[str], *, bold: bool = False) -> str:
    texts = [tex_text(cell) for cell in cells]
    return " & ".join(rf"\textbf{{{text}}}" if bold and text not in ("", "--") else text for text in texts) + r" \\"


def cell_text(cell: Cell) -> str:
    """The text of a cell."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return NONE
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)
