"""Files that are whole or not there at all, and the folders for them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

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
        OSError: The disk is full or the folder cannot be written; what was at ``path`` before is still there.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=REMNANT, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp's files are for their owner alone
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # write() and fsync() know no name
            error.filename = str(path)
        raise
    _sync_folder(path.parent)


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
