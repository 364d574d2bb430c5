"""What a person types for pictures -> the pictures, one at a time: files, folders, tar shards, patterns, stdin."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path
from typing import cast

from digitnet.bombs import MAX_BYTES
from digitnet.decoding import is_picture_name, walk_files
from digitnet.errors import DataError, UsageError
from digitnet.shards import is_shard_name, read_members
from digitnet.sources import STDIN, Packed, Source, Unreadable

# How the files begin that Pillow is asked to read (see decoding.py); no list of names begins so.
_PICTURE = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP|BM....\0\0\0\0|P[1-6]\s+(?:#.*\s+)*\d+\s+\d+\s",
    re.DOTALL,
)
_RANGE = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}")


def expand(inputs: Iterable[str]) -> Iterator[Source | None]:
    """Turn inputs into pictures and shards, lazily: folders into what they hold, patterns into what they match.

    ``-`` becomes stdin's lines, or the picture that stdin itself is. A folder with no pictures and a pattern with no
    match come back as they are, to be reported as unreadable. None says that what is next may be long in coming: that
    is for whoever writes to stdin to say.
    """
    for text in inputs:
        if text == STDIN:
            yield from _listed()
        elif os.path.exists(text):  # noqa: PTH110 (Path.exists refuses a name too long)
            yield from _files_in(Path(text))
        else:
            for name in _ranged(text):
                # Not Path.glob, which refuses 'a/**.png'.
                matches = sorted(glob(name, recursive=True)) if has_magic(name) else []  # noqa: PTH207
                for match in matches or [name]:
                    yield from _files_in(Path(match))


def unpack(places: Iterable[Source | None]) -> Iterator[Source | Unreadable | None]:
    """Put the pictures in a shard in its place; of a damaged one, what can be read, and what is wrong with it."""
    for place in places:
        if isinstance(place, Path) and is_shard_name(place) and not os.path.isdir(place):  # noqa: PTH112 (as below)
            yield from read_shard(place)
        else:
            yield place


def read_shard(path: Path) -> Iterator[Packed | Unreadable]:
    """Read the pictures in a shard, which are told by their names, in its order."""
    try:
        for member in read_members(path, is_picture_name):
            picture = Packed(path=f"{path}/{member.name}", data=member.data)
            yield Unreadable(path=picture.path, error=f"{picture.path} {member.fault}") if member.fault else picture
    except DataError as error:
        yield Unreadable(path=str(path), error=str(error))


def _ranged(text: str) -> Iterator[str]:
    """Write out the ranges in a name, as a shell does with those that are not quoted: ``train-{000..099}.tar``."""
    if (found := _RANGE.search(text)) is None:
        yield text
        return
    for number in _numbers(found[1], found[2]):
        yield from (text[: found.start()] + number + rest for rest in _ranged(text[found.end() :]))


def _numbers(first: str, last: str) -> Iterator[str]:
    """Count from one to the other, up or down, with leading zeros where either has them."""
    start, end = int(first), int(last)
    zeros = any(len(text) > 1 and text[0] == "0" for text in (first, last))
    width = max(len(first), len(last)) if zeros else 0
    step = 1 if end >= start else -1
    return (f"{number:0{width}}" for number in range(start, end + step, step))


def _listed() -> Iterator[Source | None]:
    """Read paths from stdin as they come, a line each, with None before each wait for more; or the picture itself."""
    if sys.stdin is None:  # a shell's <&-
        raise UsageError("- stands for a list on stdin, which is closed")
    stream = cast(io.BufferedReader, sys.stdin.buffer)
    rest = b""
    block = stream.read1(1 << 16)  # what is there; read would wait for all of 64 KiB
    if _PICTURE.match(block):
        yield Packed(path=STDIN, data=block + stream.read(MAX_BYTES), called="the picture on stdin")
        return
    while block:
        if b"\0" in block:  # no system's names hold one
            raise UsageError("stdin holds neither names of pictures, a line each, nor a picture that digitnet can read")
        *lines, rest = (rest + block).split(b"\n")
        yield from (Path(os.fsdecode(line)) for raw in lines if (line := raw.rstrip(b"\r")))
        yield None
        block = stream.read1(1 << 16)
    if line := rest.rstrip(b"\r"):
        yield Path(os.fsdecode(line))


def _files_in(path: Path) -> Iterator[Path]:
    """Walk a folder, in the order of the names; what is no folder is a picture or a shard itself."""
    if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir refuses a name too long before Python 3.14)
        yield path
        return
    found = walk_files(path, lambda file: is_picture_name(file) or is_shard_name(file))
    yield next(found, path)
    yield from found
