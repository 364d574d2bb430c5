"""What came of verifying a run, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from digitnet.console.tables import terminal_width, wrapped
from digitnet.errors import printable

if TYPE_CHECKING:
    from digitnet.verification import Check, Verification

WORDS = {"ok": "ok", "differs": "DIFFERS", "warning": "note", "unchecked": "not checked"}
INDENT = 13


def print_verification(verification: Verification) -> None:
    """Show each check; of those that are not as expected, what was expected and what was found."""
    print(printable(f"run {verification.folder}, after step {verification.step:,}"))
    for check in verification.checks:
        print(wrapped(f"{WORDS[check.verdict]:<{INDENT}}{printable(_text(check))}", INDENT, terminal_width()))
    if "first steps" in verification.named("differs") and verification.named("warning"):
        print(wrapped("Other versions may be why the first steps differ: each rounds in its own way.", 0))


def _text(check: Check) -> str:
    if check.verdict == "ok":
        return f"{check.name}: {check.found}"
    return f"{check.name}: expected {check.expected}, found {check.found}"
