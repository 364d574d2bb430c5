"""Images and labels in flat files that are mapped into memory and not read into it: the set may be larger than it."""

from __future__ import annotations

import contextlib
import mmap
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from digitnet.errors import DataError

COPIED_AT_ONCE = 1_000  # rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Mapped:
    """A file that is mapped into memory."""

    rows: Tensor
    """What it holds, which nobody may write to."""
    memory: mmap.mmap

    def announce(self, start: int, stop: int) -> None:
        """Ask the system to read the rows from ``start`` up to ``stop`` now, and from now on none but those asked for.

        Left to itself, it reads up to megabytes around each place where a page is missing, and for images in random
        order makes room for these by throwing out what was read before: a hundredth of the speed.
        """
        if not hasattr(mmap, "MADV_WILLNEED"):  # as on Windows
            return
        row_bytes = self.rows[:1].nbytes
        first = start * row_bytes // mmap.PAGESIZE * mmap.PAGESIZE
        with contextlib.suppress(OSError):  # a file system that takes no advice
            self.memory.madvise(mmap.MADV_RANDOM)
            self.memory.madvise(mmap.MADV_WILLNEED, first, stop * row_bytes - first)


def map_rows(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Mapped:
    """Map a file into memory as rows of that shape.

    Raises:
        OSError: There is no such file.
        ValueError: It is smaller.
    """
    with path.open("rb") as stream:
        return _map(stream, shape, dtype)


def copy_rows(source: Tensor, indices: Tensor, folder: Path) -> Mapped:
    """Copy rows of a mapped tensor into a nameless file, mapped likewise, which goes with the process.

    Args:
        source: Any tensor, of which only those rows are read.
        indices: Which rows, (n,) int64, n at least 1.
        folder: Where there is room for the file.

    Raises:
        DataError: The folder has no room for it.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            for part in torch.split(indices, COPIED_AT_ONCE):
                stream.write(source[part].numpy().data)
            stream.flush()
            return _map(stream, (len(indices), *source.shape[1:]), source.dtype)
    except OSError as error:
        raise no_room(folder, error) from error


def no_room(folder: Path, error: OSError | NotImplementedError) -> DataError:
    """Make the error that says that a set cannot be unpacked."""
    reason = getattr(error, "strerror", None) or error
    return DataError(f"{folder}: no set can be unpacked there: {reason}; name a folder with room by DIGITNET_CACHE_DIR")


def _map(stream: BinaryIO, shape: tuple[int, ...], dtype: torch.dtype) -> Mapped:
    # Shared and read-only: a private one that may be written to, as NumPy's mode c is, counts as memory that is taken,
    # and is refused where it is larger than what there is.
    mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    count = torch.Size(shape).numel()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given buffer is not writable")  # nobody writes to images
        return Mapped(rows=torch.frombuffer(mapped, dtype=dtype, count=count).view(shape), memory=mapped)
