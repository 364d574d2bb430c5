"""Run folders as commands use them: made, locked, and left with a word of what is in them."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from digitnet.launch import read_launch


@contextmanager
def run_folder(
    output: Path, name: str | None, stem: str, retyped: str = "", *, may_exist: bool = False
) -> Iterator[Path]:
    """Make a run folder that no other process trains in, and remove it when training ends before anything is in it.

    Args:
        output: The folder of runs.
        name: The run's name; None takes the stem and a number.
        stem: Such as ``cnn-mnist``.
        retyped: Options that have to be typed again when the run goes on.
        may_exist: Whether a folder of that name may be there, of a run that was killed before it began.
    """
    from digitnet.runs import BEST, create_run_folder, locked
    from digitnet.snapshots import find_states

    folder = create_run_folder(output, name, stem, may_exist=may_exist)
    with locked(folder):  # and removed only then: another process may train there
        try:
            with last_words(folder, retyped):
                yield folder
        except BaseException:
            if not (folder / BEST).exists() and not find_states(folder):
                shutil.rmtree(folder, ignore_errors=True)
            raise


@contextmanager
def last_words(folder: Path, retyped: str = "") -> Iterator[None]:
    """Say of a run that does not come to its end what is left of it."""
    from digitnet.console.notes import note
    from digitnet.errors import LaunchError, NotFiniteError
    from digitnet.runs import BEST, CONFIG, read_config
    from digitnet.snapshots import find_states

    try:
        yield
    except BaseException as error:
        if isinstance(error, LaunchError) and read_launch().starts_anew:  # it goes on by itself
            raise
        if (folder / BEST).exists():
            note(f"The best network so far is {folder / BEST}.")
        went_wrong = isinstance(error, NotFiniteError)
        if find_states(folder) and not (went_wrong and read_config(folder / CONFIG).train.on_nan == "rollback"):
            program, rule = os.environ.get("DIGITNET_PROG", "digitnet"), " --on-nan rollback" * went_wrong
            program = "torchrun ... -m digitnet" if read_launch().size > 1 else program
            note(f"To go on: {program} train --resume {shlex.quote(str(folder))}{rule}{retyped}")
        raise
