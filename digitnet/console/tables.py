"""How results are laid out: pairs of a name and a value, and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from digitnet.errors import printable

if TYPE_CHECKING:
    from rich.table import Table


def print_pairs(*pairs: tuple[str, str]) -> None:
    """Print each name and its value on a line, the values below each other."""
    for name, value in pairs:
        print(f"{name:<11}{printable(value)}")


def new_table(first: str, *others: str) -> Table:
    """Make a table without rows: text in its first column, numbers in the others."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)  # 80 columns
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table
