"""From the pictures and shards that inputs name, in their order, to units: what one worker does at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from digitnet.inputs import unpack
from digitnet.shards import is_shard_name
from digitnet.sources import Source, Unreadable, path_of

UNIT_PICTURES = 10_000
DIGEST_DIGITS = 8


class Unit:
    """A tar shard, or consecutive pictures of folders, files and stdin; to be gone through once, in its turn."""

    def __init__(self, first: Source, ahead: Iterator[Source | None], returned: list[Source]) -> None:
        """Begin a unit.

        Args:
            first: Its first picture, or the shard that it is.
            ahead: What comes after that.
            returned: Takes what was drawn from there, and is the next unit's.
        """
        self._first = first
        self._places = iter([first]) if _is_shard(first) else _until_shard(first, ahead, returned)
        self._hash = hashlib.sha256()

    def __str__(self) -> str:
        """Name it for people."""
        return path_of(self._first) if _is_shard(self._first) else f"the pictures from {path_of(self._first)} on"

    def sources(self) -> Iterator[Source | Unreadable | None]:
        """Go through its pictures; None says that the next may be long in coming."""
        return unpack(self._noted())

    @property
    def digest(self) -> str:
        """A hash of the names of its pictures, or of a shard's name and size, in 8 hex digits; goes to its end."""
        for _ in self._noted():
            pass
        return self._hash.hexdigest()[:DIGEST_DIGITS]

    def pass_over(self) -> None:
        """Go to its end."""
        for _ in self._places:
            pass

    def _noted(self) -> Iterator[Source | None]:
        for place in self._places:
            if place is not None:
                self._hash.update(os.fsencode(path_of(place)) + b"\0")
                if _is_shard(place):
                    self._hash.update(str(_size(place)).encode())
            yield place


def units(places: Iterator[Source | None]) -> Iterator[Unit]:
    """Put what inputs name into units; each is gone to its end before the next begins."""
    returned: list[Source] = []
    while (
        first := returned.pop() if returned else next((place for place in places if place is not None), None)
    ) is not None:
        unit = Unit(first, places, returned)
        yield unit
        unit.pass_over()


def _until_shard(first: Source, ahead: Iterator[Source | None], returned: list[Source]) -> Iterator[Source | None]:
    yield first
    count = 1
    while count < UNIT_PICTURES:
        try:
            place = next(ahead)
        except StopIteration:
            return
        if place is not None and _is_shard(place):
            returned.append(place)
            return
        yield place
        count += place is not None


def _is_shard(place: Source) -> bool:
    return isinstance(place, Path) and is_shard_name(place)


def _size(place: Source) -> int | None:
    try:
        return os.stat(path_of(place)).st_size  # noqa: PTH116
    except (OSError, ValueError):  # reading it will say what is wrong
        return None
