"""From the pictures and shards that inputs name, in their order, to units: what one worker does at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from digitnet.inputs import unpack
from digitnet.shards import is_shard_name
from digitnet.sources import Packed, Source, Unreadable, path_of

UNIT_PICTURES = 10_000
DIGEST_DIGITS = 8
ABSENT = "0" * DIGEST_DIGITS


class Unit:
    """A tar shard, or consecutive pictures of folders, files and stdin; to be gone through once, in its turn."""

    def __init__(self, name: str, places: Iterator[Source | None]) -> None:
        """Begin a unit of a name for people, and of the shard or the pictures in it."""
        self._name = name
        self._places = places
        self._hash = hashlib.sha256()
        self._absent = False

    def __str__(self) -> str:
        """Name it for people."""
        return self._name

    def sources(self) -> Iterator[Source | Unreadable | None]:
        """Go through its pictures; None says that the next may be long in coming."""
        return unpack(self.places())

    def places(self) -> Iterator[Source | None]:
        """Go through its pictures, or give the shard that it is, unread."""
        for place in self._places:
            if place is not None:
                self._hash.update(os.fsencode(path_of(place)) + b"\0")
                if _is_shard(place):
                    size = _size(place)
                    self._absent = size is None
                    self._hash.update(str(size).encode())
            yield place

    @property
    def digest(self) -> str:
        """A hash of the names of its pictures, or of a shard's name and size, in 8 hex digits; goes to its end.

        ``ABSENT`` of a shard that is not there, for the next start to look for it again.
        """
        for _ in self.places():
            pass
        if self._absent:
            return ABSENT
        return self._hash.hexdigest()[:DIGEST_DIGITS]


def units(places: Iterator[Source | None]) -> Iterator[Unit]:
    """Put what inputs name into units; each is gone to its end before the next begins."""
    returned: list[Source] = []  # what was drawn to see that a unit ends before it
    while (first := returned.pop() if returned else _next(places)) is not None:
        if _is_shard(first):
            yield Unit(path_of(first), iter([first]))
        else:
            rest = _until_shard(first, places, returned)
            yield Unit(f"the pictures from {path_of(first)} on", rest)
            for _ in rest:
                pass


def _next(places: Iterator[Source | None]) -> Source | None:
    return next((place for place in places if place is not None), None)


def _until_shard(first: Source, places: Iterator[Source | None], returned: list[Source]) -> Iterator[Source | None]:
    yield first
    count = 1
    while count < UNIT_PICTURES and (place := next(places, _END)) is not _END:
        if place is not None and _is_shard(place):
            returned.append(place)
            return
        yield place
        count += place is not None


_END = Packed(path="", data=b"")  # behind the last picture


def _is_shard(place: Source) -> bool:
    return isinstance(place, Path) and is_shard_name(place)


def _size(place: Source) -> int | None:
    try:
        return os.stat(path_of(place)).st_size  # noqa: PTH116 (Path.stat is slower)
    except (OSError, ValueError):  # reading it will say what is wrong
        return None
