"""What was measured and simulated, in one JSON file, to which each command adds its part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from digitnet.atomic import write_atomically
from digitnet.errors import DataError

Results = dict[str, Any]


def read_results(path: Path) -> Results:
    """Read what was found so far; a file that is not there holds nothing.

    Raises:
        DataError: The file holds something else.
    """
    try:
        found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no results of scripts/scale; name another file by --json")
    return found


def add_results(path: Path | None, name: str, value: Any) -> None:
    """Put one part into the file, in place of what it was before; without a file, do nothing."""
    if path is not None:
        write_atomically(path, json.dumps({**read_results(path), name: value}, indent=1).encode() + b"\n")
