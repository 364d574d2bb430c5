"""Options that the commands of ``digitnet explain`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from digitnet.atomic import check_folder


def _checked(folder: Path | None) -> Path | None:
    """Refuse what is no folder before anything is computed."""
    if folder is not None:
        check_folder(folder, "--output")
    return folder


FiguresOption = Annotated[
    Path | None,
    typer.Option("--output", metavar="DIR", callback=_checked, help="Draw figures, too, as PNG files in this folder."),
]
AsciiOption = Annotated[
    bool, typer.Option("--ascii", help="Draw with ASCII characters, as is done where a terminal has no others.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
