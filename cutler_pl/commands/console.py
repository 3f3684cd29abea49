"""Tables on standard output."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose first column names the rows, never cut to the width of a pipe or log."""
    table = Table(box=SIMPLE_HEAD)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    needed = 8 + sum(3 + max(map(len, column)) for column in zip(header, *rows, strict=True))
    Console(width=max(Console().width, needed)).print(table)
