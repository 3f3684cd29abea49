"""Tables on standard output."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from cutler_pl.reports.tables import Table


def print_table(table: Table) -> None:
    """Print a table with its notes, never cut to the width of the console."""
    shown = RichTable(title=Text(" ".join(table.notes)) if table.notes else None, title_justify="left", box=SIMPLE_HEAD)
    for number, name in enumerate(table.header):
        shown.add_column(Text(name), justify="left" if number < table.text_columns else "right", no_wrap=True)
    for row in table.texts:
        shown.add_row(*map(Text, row))
    needed = 8 + sum(3 + max(map(len, column)) for column in zip(table.header, *table.texts, strict=True))
    Console(width=max(Console().width, needed)).print(shown)
