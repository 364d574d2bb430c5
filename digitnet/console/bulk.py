"""What a bulk prediction came to, for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.errors import printable

if TYPE_CHECKING:
    from digitnet.bulk.counts import Counts


def bulk_summary(folder: Path, units: int, counts: Counts, here: int, elapsed_s: float) -> str:
    """Put the counts of all units into lines of text.

    Args:
        folder: Where the parts are.
        units: How many there are.
        counts: Of all of them.
        here: Inputs that were read since this start.
        elapsed_s: Seconds that this took.
    """
    rows = {
        "inputs": f"{counts.inputs:,}",
        "answered": f"{counts.answered:,}",
        "turned away": f"{counts.turned_away:,}",
        "unreadable": f"{counts.errors:,}",
        "digits": "  ".join(f"{digit}: {count:,}" for digit, count in enumerate(counts.digits)),
        "this time": f"{here:,} in {elapsed_s:,.1f} s, {here / elapsed_s:,.0f}/s" if here else "nothing was missing",
        "parts": f"{units:,} in {printable(folder)}, with summary.json",
    }
    return "\n".join(f"{name:<13}{value}" for name, value in rows.items())
