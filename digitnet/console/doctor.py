"""What ``digitnet doctor`` found, for people: a line each, in colour where the terminal shows it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from digitnet.console.tables import terminal_width, wrapped
from digitnet.doctor.check import counted
from digitnet.errors import printable

if TYPE_CHECKING:
    from digitnet.doctor.check import Check

STATUS_WIDTH, NAME_WIDTH = 9, 17
COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}
NARROW = 60  # columns, below which what was found begins close to the left


def print_checks(checks: Iterable[Check]) -> list[Check]:
    """Print each check as it comes, and then how many are not well; return all of them."""
    from rich.console import Console
    from rich.text import Text

    console, done = Console(highlight=False), []
    for check in checks:
        text = Text(_line(check))
        text.stylize(COLOURS[check.status], 0, len(check.status))
        console.print(text, soft_wrap=True)
        done.append(check)
    console.print(_summary(done), soft_wrap=True)
    return done


def _line(check: Check) -> str:
    text = printable("; ".join(filter(None, (check.found, check.advice))))
    line = f"{check.status:<{STATUS_WIDTH}}{check.name:<{NAME_WIDTH}}{text}"
    if not sys.stdout.isatty():  # whole, for a search or a report
        return line
    if terminal_width() < NARROW:
        return wrapped(f"{check.status:<{STATUS_WIDTH}}{check.name}: {text}", STATUS_WIDTH)
    return wrapped(line, STATUS_WIDTH + NAME_WIDTH)


def _summary(checks: list[Check]) -> str:
    failed, warned = (sum(check.status == status for check in checks) for status in ("failed", "warning"))
    if not failed and not warned:
        return f"All {len(checks)} checks are well."
    words = [f"{failed} failed"] if failed else []
    words += [counted(warned, "warning")] if warned else []
    return f"Of {len(checks)} checks: {', '.join(words)}."
