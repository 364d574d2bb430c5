"""The outside of a safetensors file, looked at before any library opens it: what it is, its size and its header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from digitnet.errors import CheckpointError, brief

MAX_HEADER_BYTES = 1_000_000
MAX_BYTES = 2_000_000_000


def check_container(path: Path, most: int = MAX_BYTES) -> None:
    """Look at the first bytes of a safetensors file of at most so many alone, before any library opens it.

    Raises:
        CheckpointError: It is none, or a pickle, or too large.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():  # a named pipe would wait for ever
            raise CheckpointError(f"{path} is not an ordinary file")
        with path.open("rb") as stream:
            start = stream.read(9)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    # A safetensors file begins with the length of its header, whose lowest byte can be a pickle's first.
    if start[8:9] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
        raise CheckpointError(
            f"{path} is a pickle, which can run code when it is opened, so digitnet does not; it reads only "
            "safetensors files written by digitnet train"
        )
    header = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:9] != b"{" or not 2 <= header <= min(MAX_HEADER_BYTES, size - 8):
        raise CheckpointError(f"{path} is not a safetensors file, or is cut short")
    if size > most:
        raise CheckpointError(f"{path} is larger than {most:,} bytes, which no file of digitnet's is")
    _check_names(path, header)


def _check_names(path: Path, size: int) -> None:
    """Refuse a header, of so many bytes, that says one thing twice: readers differ in which of the two they believe."""
    with path.open("rb") as stream:
        stream.seek(8)
        header = stream.read(size)
    try:
        json.loads(header, object_pairs_hook=unique_names)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header is damaged: {brief(error)}") from error


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of a JSON object, for ``json.loads``.

    Raises:
        ValueError: Two of its names are the same.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in values if names.count(name) > 1)} is there twice")
    return values
