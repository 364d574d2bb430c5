"""Numbers laid out as on paper: matrices in brackets, several beside each other; bars, and long lines broken.

Terminals of fewer than 80 columns get less beside each other, and lines that end between two numbers.
"""

from __future__ import annotations

import math
import sys
import textwrap
from collections.abc import Sequence

from digitnet.console.tables import WIDE, terminal_width
from digitnet.drawing import fixed, has_blocks

DIGITS = 4  # significant ones, of what is shown
MOST_DECIMALS = 8
INDENT = 2


def room(indent: int = INDENT) -> int:
    """Return how many characters there are for a line, beside its indentation."""
    return min(terminal_width(), WIDE) - indent


def encoding(ascii_only: bool) -> str | None:
    """Return the encoding that drawings on stdout are to be made for; see ``drawing``."""
    return "ascii" if ascii_only else sys.stdout.encoding


def number(value: float) -> str:
    """Put a number into text with four significant digits; what is no zero does not become one."""
    return f"{value + 0.0:.{DIGITS}g}"  # + 0.0 makes 0 of -0


def decimals_of(values: Sequence[float]) -> int:
    """Return how many decimals to show of numbers that stand in columns: all that they have, up to four digits."""
    most = max((abs(value) for value in values), default=0.0)
    if most == 0:
        return 0
    enough = min(max(DIGITS - 1 - math.floor(math.log10(most)), 0), MOST_DECIMALS)
    exact = (d for d in range(enough) if all(abs(value - round(value, d)) < 1e-6 * most for value in values))
    return next(exact, enough)


def column(values: Sequence[float], decimals: int | None = None) -> list[str]:
    """Draw a vector as a column in brackets."""
    return matrix([(value,) for value in values], decimals)


def matrix(rows: Sequence[Sequence[float]], decimals: int | None = None) -> list[str]:
    """Draw a matrix in brackets, a line for each row.

    Args:
        rows: (height, width).
        decimals: How many to show; None is what the numbers need.
    """
    shown = decimals_of([value for row in rows for value in row]) if decimals is None else decimals
    texts = [[fixed(value, shown) for value in row] for row in rows]
    width = max((len(text) for row in texts for text in row), default=0)
    return ["[ " + "  ".join(f"{text:>{width}}" for text in row) + " ]" for row in texts]


def beside(*parts: str | Sequence[str], gap: str = " ") -> list[str]:
    """Put drawings beside each other, each in the middle of the height; a text is a drawing of one line."""
    blocks = [[part] if isinstance(part, str) else list(part) for part in parts]
    height = max(map(len, blocks))
    return [gap.join(line).rstrip() for line in zip(*(_padded(block, height) for block in blocks), strict=True)]


def _padded(lines: list[str], height: int) -> list[str]:
    width = max(map(len, lines), default=0)
    above = (height - len(lines)) // 2
    below = height - len(lines) - above
    return [" " * width] * above + [f"{line:<{width}}" for line in lines] + [" " * width] * below


def bar(share: float, width: int, encoding: str | None) -> str:
    """Draw a share, in [0, 1], as a bar of at most `width` characters, for a stream of an encoding."""
    return ("\u2588" if has_blocks(encoding) else "#") * round(width * share)


def print_beside(*blocks: Sequence[str], gap: str) -> None:
    """Print drawings beside each other as far as there is room, and what is left below them."""
    gap = gap if terminal_width() >= WIDE else "  "
    shown: list[Sequence[str]] = []
    for block in blocks:
        if shown and max(map(len, beside(*shown, block, gap=gap))) > room():
            print_lines(beside(*shown, gap=gap))
            shown = []
        shown.append(block)
    print_lines(beside(*shown, gap=gap))


def print_wrapped(line: str, indent: int) -> None:
    """Print a line, indented; what there is no room for on lines of its own, indented by `indent` more."""
    print_lines(_broken(line, room(), indent))


def print_text(*lines: str, indent: int = 0) -> None:
    """Print lines of prose; in a narrow terminal, broken anew."""
    print_lines(lines if terminal_width() >= WIDE else _broken(" ".join(lines), room(indent), 0), indent)


def print_lines(lines: Sequence[str], indent: int = INDENT) -> None:
    """Print lines, indented; in a narrow terminal, those that are too long go on below, indented by 4 more."""
    for line in lines:
        fits = terminal_width() >= WIDE or len(line) <= room(indent)
        for part in [line] if fits else _broken(line, room(indent), 4):
            print(f"{' ' * indent}{part}".rstrip())


def _broken(line: str, width: int, indent: int) -> list[str]:
    """Break a line where it has spaces: no number is cut."""
    return textwrap.wrap(line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
