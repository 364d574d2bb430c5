"""Files that are whole or not there at all, and the folders for them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from digitnet.errors import UsageError

REMNANT = ".part"  # how temporary names end


def check_folder(folder: Path, option: str) -> None:
    """Refuse a place for files that is no folder; one that is missing can be made.

    Raises:
        UsageError: It is none; the message says by which option to name another one.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name another one by {option}")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name beside it, flush it to disk, and rename it into place.

    Raises:
        OSError: The disk is full or the folder cannot be written; it names ``path``, where what was before is still
            there, or the new file is whole.
    """
    try:
        with drafting(path.parent, path.name) as draft:
            draft.stream.write(data)
            draft.rename(path)
    except OSError as error:  # of which some know the temporary name, and write() and fsync() none
        error.filename, error.filename2 = str(path), None
        raise


class Draft:
    """A file that is being written under a temporary name."""

    def __init__(self, stream: BinaryIO, temporary: Path) -> None:
        self.stream = stream
        self._temporary = temporary

    def rename(self, path: Path) -> None:
        """Flush it to disk, and give it its name in the same folder; nothing more can be written then.

        Raises:
            OSError: The disk is full, or the folder cannot be written.
        """
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()  # which Windows wants of what is renamed
        self._temporary.chmod(0o666 & ~_umask())  # mkstemp's files are for their owner alone
        self._temporary.replace(path)
        _sync_folder(path.parent)


@contextmanager
def drafting(folder: Path, stem: str) -> Iterator[Draft]:
    """Write a file whose name is known only when it is whole; it is gone if it was not given one by then.

    Raises:
        OSError: The folder cannot be written.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{stem}.", suffix=REMNANT, dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield Draft(stream, Path(name))
    finally:
        Path(name).unlink(missing_ok=True)


def remove_remnants(folder: Path) -> None:
    """Remove what killed processes left half written in a folder in which no other one writes now."""
    for path in folder.glob(f".*{REMNANT}"):
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # only there can a folder be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
