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
        OSError: The disk is full or the folder cannot be written; it names ``path``, where what was before is still
            there, or the new file is whole.
    """
    try:
        _replace(path, data)
        _sync_folder(path.parent)
    except OSError as error:  # of which some know the temporary name, and write() and fsync() none
        error.filename, error.filename2 = str(path), None
        raise


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=REMNANT, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp's files are for their owner alone
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
