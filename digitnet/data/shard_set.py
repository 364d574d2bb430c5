"""Tar shards as a data set of any size: unpacked once into flat files in the cache, which are then mapped.

A sample is a picture and its label, KEY.png and KEY.cls, side by side, as WebDataset has it. The shards themselves are
read in ``shards.py``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from digitnet import __version__
from digitnet.config import IMAGE_SIZE
from digitnet.data.cache import MAX_INFO_BYTES, cache_dir, made
from digitnet.data.digits import SPLIT_SEED, Digits, validation_size
from digitnet.data.flat import Mapped, copy_rows, map_rows, no_room
from digitnet.data.folder import not_read
from digitnet.data.idx import Part, find_idx
from digitnet.decoding import PICTURE_SUFFIXES
from digitnet.errors import DataError, PictureError, brief, printable
from digitnet.pictures import Digit, read_digit
from digitnet.shards import Member, is_shard_name, read_members
from digitnet.sources import Packed

IMAGES, TARGETS, INFO = "images.bin", "targets.bin", "shards.json"
PACKED_AT_ONCE = 1_000  # images
LABEL = ".cls"
SHAPE = (1, IMAGE_SIZE, IMAGE_SIZE)

# Source: WebDataset's base_plus_ext. The key is all up to the first dot of the name; hidden files have none.
_NAME = re.compile(r"((?:.*/)?[^./]+)(\.[^/]*)", re.DOTALL)


def find_shards(folder: Path, part: Part) -> list[Path]:
    """List the shards of a part in the order of their names; none where the folder holds digits in another form.

    They are in DIR/train and DIR/test, or in DIR itself; a set without a test part is used whole for either part.
    """
    root = next((place for place in (folder / part, folder / "train") if place.is_dir()), folder)
    if not root.is_dir() or find_idx(folder, part) or any((root / str(digit)).is_dir() for digit in range(10)):
        return []
    return sorted(path for path in root.iterdir() if is_shard_name(path))


def load_shards(folder: Path, shards: list[Path]) -> Digits:
    """Load shards, unpacked in the cache; where they are not there yet, each picture is made what MNIST would have.

    The images for validation, which ``spread`` chooses, are the last in the file, so that the others lie in one piece;
    the last of those have their places.

    Args:
        folder: What the set is called.
        shards: Its shards, at least one.

    Raises:
        DataError: A shard is damaged, a sample has no label or cannot be read, or the cache has no room.
    """
    key = f"shards-{_key(shards)}"
    try:
        return made(key, partial(read_unpacked, str(folder)), partial(_pack, folder, shards))
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise no_room(cache_dir(), error) from error


def split_shards(digits: Digits, train_size: int | None = None) -> tuple[Digits, Digits]:
    """Cut a set of shards as ``split`` cuts others, with nothing copied but the images for validation.

    Args:
        digits: As ``load_shards`` returned them.
        train_size: Keep only so many training images, spread over the set, in a file of their own; None keeps all.

    Raises:
        DataError: The cache has no room for that file.
    """
    size = validation_size(len(digits))
    count = len(digits) - size
    marked = replace(digits, split_hash=hashlib.sha256(spread(len(digits), size).numpy().data).hexdigest()[:16])
    train = replace(marked, images=digits.images[:count], targets=digits.targets[:count])
    if train_size is not None and train_size < count:
        some = spread(count, train_size)
        images = copy_rows(train.images, some, cache_dir())
        train = replace(train, images=images.rows, targets=train.targets[some], announce=images.announce)
    validation = marked.take(torch.arange(count, len(digits)))
    assert train.announce is not None
    train.announce(0, 0)  # nothing yet; but what looks at images here and there reads no more than these from now on
    return train, validation


def spread(count: int, size: int) -> Tensor:
    """Choose places all over a set, always the same: one at random of each of ``size`` stretches, (size,) int64."""
    ends = torch.arange(size + 1) * count // max(1, size)
    shares = torch.rand(size, generator=torch.Generator().manual_seed(SPLIT_SEED), dtype=torch.float64)
    return ends[:-1] + (shares * ends.diff()).long()


def _key(shards: list[Path]) -> str:
    """Name the shards by name, size and time; another version may make something else of their pictures."""
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in shards]
    return hashlib.sha256(repr((__version__, states)).encode()).hexdigest()[:16]


def read_unpacked(name: str, place: Path) -> Digits | None:
    """Map what was unpacked; None where it is not there, or not whole."""
    try:
        with (place / INFO).open("rb") as stream:
            info = json.loads(stream.read(MAX_INFO_BYTES))
        count, fingerprint = int(info["count"]), str(info["fingerprint"])
        images = map_rows(place / IMAGES, (count, *SHAPE), torch.uint8)
        targets = map_rows(place / TARGETS, (count,), torch.int64)
    except (OSError, ValueError, KeyError, TypeError):  # built anew
        return None
    return Digits(
        name=name,
        images=images.rows,
        targets=targets.rows,
        fingerprint=fingerprint,
        announce=partial(_announce, (images, targets)),
    )


def _announce(files: tuple[Mapped, ...], start: int, stop: int) -> None:
    for file in files:
        file.announce(start, stop)


def _pack(folder: Path, shards: list[Path], place: Path) -> None:
    """Unpack shards into a folder, in little memory however many they are."""
    logging.getLogger(__name__).warning(
        "Unpacking the %s shards of %s into %s, which is done once.", f"{len(shards):,}", printable(folder), cache_dir()
    )
    samples, count = (sample for shard in shards for sample in _samples(shard)), 0
    hashes = hashlib.sha256(), hashlib.sha256()
    with (place / IMAGES).open("wb") as images, (place / TARGETS).open("wb") as targets:
        while some := list(islice(samples, PACKED_AT_ONCE)):
            count += len(some)
            pixels, labels = np.stack([sample[0] for sample in some]), np.array([sample[1] for sample in some])
            for stream, digest, data in zip((images, targets), hashes, (pixels, labels.astype("int64")), strict=True):
                stream.write(data.data)
                digest.update(data.data)
    if count == 0:
        raise DataError(f"{folder}: its shards hold no pictures with labels; expected KEY.png beside KEY{LABEL}")
    _move_validation(place, count)
    whole = "".join((repr((count, *SHAPE)), *(digest.hexdigest() for digest in hashes)))
    info = {"count": count, "fingerprint": hashlib.sha256(whole.encode()).hexdigest()[:16]}
    (place / INFO).write_text(json.dumps(info))


def _move_validation(place: Path, count: int) -> None:
    """Let the images for validation and the last ones change places."""
    size = validation_size(count)
    chosen, last = spread(count, size).numpy(), np.arange(count - size, count)
    holes, moved = np.setdiff1d(chosen, last), np.setdiff1d(last, chosen)
    for name, dtype, shape in ((IMAGES, np.uint8, SHAPE), (TARGETS, np.int64, ())):
        rows = np.memmap(place / name, dtype, "r+", shape=(count, *shape))
        rows[holes], rows[moved] = rows[moved], rows[holes]
        rows.flush()


def _samples(shard: Path) -> Iterator[tuple[Digit, int]]:
    for key, members in groupby(read_members(shard, _is_wanted), lambda member: _parts(member.name)[0]):
        yield _sample(shard, key, list(islice(members, 3)))


def _is_wanted(name: str) -> bool:
    suffix = _parts(name)[1]
    return suffix == LABEL or suffix in PICTURE_SUFFIXES


def _parts(name: str) -> tuple[str, str]:
    """Split a member's name into a sample's key and what the member is of it."""
    found = _NAME.fullmatch(name)
    return (found[1], found[2].lower()) if found else (name, "")


def _sample(shard: Path, key: str, members: list[Member]) -> tuple[Digit, int]:
    """Read a sample.

    Raises:
        DataError: It is no picture and its label, or the picture cannot be read.
    """
    labels = [member for member in members if _parts(member.name)[1] == LABEL]
    pictures = [member for member in members if member not in labels]
    where = printable(shard / PurePosixPath(key))
    if not labels:
        raise DataError(f"{where} has no label; expected one in {key}{LABEL} beside the picture")
    if not pictures:
        raise DataError(f"{where}{LABEL}: the picture that it labels is not beside it, such as {key}.png")
    if len(members) > 2:
        raise DataError(f"{where} is more than one picture with one label; give each sample a name of its own")
    return _picture(shard, pictures[0]), _label(shard, labels[0])


def _label(shard: Path, member: Member) -> int:
    text = member.data[:100].strip()
    if member.fault or text not in [b"%d" % digit for digit in range(10)]:
        where, found = printable(shard / member.name), brief(text.decode(errors="replace"), 20)
        raise DataError(f"{where}: expected a label from 0 to 9, found {printable(found) or 'nothing'}")
    return int(text)


def _picture(shard: Path, member: Member) -> Digit:
    if member.fault:
        raise DataError(f"{printable(shard / member.name)} {member.fault}")
    try:
        return read_digit(Packed(path=str(shard / member.name), data=member.data))
    except PictureError as error:
        raise not_read(error) from error
