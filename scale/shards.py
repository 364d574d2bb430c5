"""Tar shards as WebDataset names them, of digits drawn from strokes: as many as wanted, the same bytes each time.

Both formats are written here, for speed: a PNG by Pillow takes four times as long as this one, and a header by tarfile
five times, so that with both the drawing of the digits itself would be a small part of the time.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import struct
import tarfile
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from digitnet.atomic import remove_remnants, write_atomically
from digitnet.errors import UsageError

SETTINGS = "shards.json"
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)  # of an archive
SIDE = 28


@dataclass(frozen=True, kw_only=True)
class Shards:
    """A set of shards: the first `count` digits of a stream of strokes, so many in each."""

    count: int
    per_shard: int
    seed: int

    @property
    def number(self) -> int:
        """How many shards there are; the last one may hold fewer digits."""
        return -(-self.count // self.per_shard)

    def digits_of(self, shard: int) -> range:
        """Return the numbers of the digits in a shard."""
        first = shard * self.per_shard
        return range(first, min(first + self.per_shard, self.count))

    @staticmethod
    def name_of(shard: int) -> str:
        """Return the name of a shard's file."""
        return f"digits-{shard:06}.tar"


@dataclass(frozen=True, kw_only=True)
class Written:
    """What one start wrote."""

    shards: int
    digits: int
    elapsed_s: float


def write_shards(shards: Shards, folder: Path, workers: int) -> Written:
    """Write the shards that are not in a folder yet, each under a temporary name until it is whole.

    Each worker holds one shard in memory, which is 2 KB a digit; a single one is this process.

    Raises:
        UsageError: The folder holds shards that were made with other settings.
    """
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    _keep_settings(shards, folder)
    remove_remnants(folder)
    missing = [shard for shard in range(shards.number) if not (folder / Shards.name_of(shard)).exists()]
    write = functools.partial(_write_shard, shards, folder)
    if min(workers, len(missing)) > 1:
        context = multiprocessing.get_context("spawn")  # torch's threads do not outlive a fork
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
            list(pool.map(write, missing))
    else:
        list(map(write, missing))
    digits = sum(len(shards.digits_of(shard)) for shard in missing)
    return Written(shards=len(missing), digits=digits, elapsed_s=time.monotonic() - started)


def _keep_settings(shards: Shards, folder: Path) -> None:
    path, wanted = folder / SETTINGS, asdict(shards)
    if not path.exists():
        write_atomically(path, json.dumps(wanted).encode())
    elif (found := json.loads(path.read_text("utf-8"))) != wanted:
        raise UsageError(f"{folder} holds shards of {found}, not of {wanted}; name another folder")


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _write_shard(shards: Shards, folder: Path, shard: int) -> None:
    from digitnet.data.strokes import draw_strokes

    numbers = shards.digits_of(shard)
    images, targets = draw_strokes(len(numbers), seed=shards.seed, first=numbers.start)
    archive = tar_bytes(numbers, images[:, 0].numpy(), targets.tolist())
    write_atomically(folder / Shards.name_of(shard), archive)


def tar_bytes(numbers: Sequence[int], images: np.ndarray, targets: Sequence[int]) -> bytes:
    """Put digits, uint8 (N, 28, 28), into an archive: ``00000000.png`` and ``00000000.cls`` for number 0."""
    rows = np.pad(images, ((0, 0), (0, 0), (1, 0)))  # PNG: each row begins with its filter, here none
    parts = []
    for number, row, target in zip(numbers, rows, targets, strict=True):
        parts += [*_member(f"{number:08}.png", _png(row.tobytes())), *_member(f"{number:08}.cls", b"%d" % target)]
    return b"".join([*parts, END])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# Width, height, 8 bits, grey; the only compression, filtering and order of rows there are but for interlaced ones.
PNG_HEAD = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0))
PNG_END = _chunk(b"IEND", b"")


def _png(rows: bytes) -> bytes:
    """Encode a 28x28 picture of grey values, whose rows begin with a 0 each."""
    return PNG_HEAD + _chunk(b"IDAT", zlib.compress(rows, 1)) + PNG_END


# A header of tarfile's: mode 0644, nobody's, of 1970.
HEADER = tarfile.TarInfo("00000000.png").tobuf(tarfile.USTAR_FORMAT)


def _member(name: str, data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what stands in an archive for a file: its header, what is in it, and zeros up to the next block."""
    header = bytearray(HEADER)
    header[: len(name)] = name.encode()
    header[124:135] = b"%011o" % len(data)
    header[148:156] = b" " * 8  # the checksum, as it is counted among the sum
    header[148:155] = b"%06o\0" % sum(header)
    return bytes(header), data, bytes(-len(data) % BLOCK)
