"""Where a picture comes from: a file, or bytes that were read already, as a tar shard's and stdin's are."""

import io
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from digitnet.errors import printable

STDIN = "-"  # what a person types for it


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """A picture that is no file of its own."""

    path: str
    """What answers call it, such as ``shards/train-000001.tar/000123.png``."""
    data: bytes
    called: str | None = None
    """What messages call it, where that is not the path."""


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """What stands in an answer's place for a file that could not be read."""

    path: str
    error: str


Source = Path | Packed


def path_of(source: Source) -> str:
    """Return what answers call a picture."""
    return source.path if isinstance(source, Packed) else str(source)


def named(source: Source) -> str:
    """Return what messages call a picture, fit for a terminal."""
    return printable((source.called or source.path) if isinstance(source, Packed) else source)


def size_of(source: Source) -> int:
    """Return how many bytes a picture has, packed as it is.

    Raises:
        OSError: It is a file that is not there.
    """
    return len(source.data) if isinstance(source, Packed) else source.stat().st_size


def open_source(source: Source) -> io.BytesIO | io.FileIO:
    """Open a picture, unbuffered where it is a file.

    Raises:
        OSError: It is a file that cannot be opened.
    """
    return io.BytesIO(source.data) if isinstance(source, Packed) else io.FileIO(source)


@contextmanager
def all_bytes(source: Source) -> Iterator[bytes | mmap.mmap]:
    """Give a picture's bytes to look through, without reading a whole file.

    Raises:
        OSError: It is a file that cannot be opened.
    """
    if isinstance(source, Packed):
        yield source.data
        return
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data
