"""How results are laid out: pairs of a name and a value, and tables; in narrow terminals with each figure whole."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from digitnet.errors import printable

if TYPE_CHECKING:
    from rich.table import Table

NAME_WIDTH = 11
WIDE = 80  # columns of a terminal, for which all is laid out: in fewer, a line might be broken in the midst of a figure


def terminal_width() -> int:
    """Return how many columns there are for results: the terminal's, else 80; COLUMNS says otherwise."""
    return shutil.get_terminal_size().columns


def wrapped(text: str, indent: int, width: int | None = None) -> str:
    """Break a text into lines that fit, those after the first indented; a word that is too long stays whole."""
    width = max(width or terminal_width(), indent + 16)
    return textwrap.fill(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def print_pairs(*pairs: tuple[str, str]) -> None:
    """Print each name and its value on a line, or on some in a narrow terminal, the values below each other."""
    for name, value in pairs:
        line = f"{name:<{NAME_WIDTH}}{printable(value)}"
        print(line if terminal_width() >= WIDE else wrapped(line, NAME_WIDTH))


def print_commands(*commands: str) -> None:
    """Print what to type next, each command whole: a terminal that breaks it lets it be copied as one line."""
    for index, command in enumerate(commands):
        print(f"{'' if index else 'next':<{NAME_WIDTH}}{printable(command)}")


def new_table(first: str, *others: str) -> Table:
    """Make a table without rows: text in its first column, numbers in the others."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)  # 80 columns
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def print_table(table: Table) -> None:
    """Print a table; where the terminal is too narrow for it, its rows one by one, each cell after its heading."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(highlight=False, width=terminal_width())
    if Measurement.get(console, console.options.update(max_width=1000), table).maximum <= console.width:
        console.print(table)
        return
    headings = [str(column.header) for column in table.columns]
    print()
    for row in zip(*(column.cells for column in table.columns), strict=True):
        print_record(*zip(headings, map(str, row), strict=True))
    print()


def print_columns(
    headings: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int], indent: int = 0
) -> None:
    """Print rows below their headings, the first cell to the left and the others to the right of its column.

    Where the terminal is too narrow for them, they are printed one by one, each cell after its heading.
    """
    if indent + sum(widths) <= terminal_width():
        for first, *others in (headings, *rows):
            cells = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
            print(f"{' ' * indent}{first:<{widths[0]}}{''.join(cells)}".rstrip())
        return
    for row in rows:
        print_record(*zip(headings, row, strict=True))


def print_record(*cells: tuple[str, str]) -> None:
    """Print a row as text: each heading and its figure, the first of them before a colon."""
    (heading, first), *others = [(heading.replace(" ", "\xa0"), cell.replace(" ", "\xa0")) for heading, cell in cells]
    text = ", ".join(f"{heading}\xa0{cell}".strip("\xa0") for heading, cell in others if cell not in ("", "."))
    print(wrapped(f"{heading}\xa0{first}".strip("\xa0") + f": {text}", 2).replace("\xa0", " "))
