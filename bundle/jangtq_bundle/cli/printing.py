"""Tables on standard output: with lines in a terminal, plain where they are piped."""

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

_LEAST_PIPED_WIDTH = 120


def new_table(*columns: str, title: str) -> Table:
    """A table with these headings, or without any."""
    return Table(*columns, title=title, title_justify="left", show_header=bool(columns), box=SIMPLE)


def show(table: Table) -> None:
    """Print it; what is piped is not cut at some width."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(_LEAST_PIPED_WIDTH, console.width))
        table.box = None
    console.print(table)
