"""Tar shards, as WebDataset names them, read as a stream: nothing is extracted, and nothing listed whole.

tarfile takes each header apart; going from one to the next is done here. tarfile itself would keep a list of all
members, read as much of a long name into memory as its header states, and take a damaged header for the end.
"""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from digitnet.errors import DataError, printable

SUFFIXES = (".tar", ".tar.gz", ".tgz")
MAX_MEMBER_BYTES = 100_000_000  # of a picture, which is held in memory, unlike one that is a file
MAX_EXTRA_BYTES = 65_536  # of a header's long name and other records
MAX_RATIO = 200  # of a packed shard's bytes to those in its file,
FREE_BYTES = 1_000_000_000  # beyond so many: seconds of work, whatever they hold

_BLOCK = 512
_OCTAL = frozenset(b"01234567")
_RECORDS = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_STEP = 1 << 20
_SPARSE_MORE, _EXTENSION_MORE = 482, 504  # where GNU tar says that a list of holes goes on in a further block


class Member(NamedTuple):
    """An ordinary file in a shard."""

    name: str
    """As the shard has it, but without a leading ``/`` or ``./``; a label only, never a place to write to."""
    data: bytes
    fault: str | None = None
    """Why there are no data, in words that go after the name; None where there are."""


class _DamageError(Exception):
    """Says what is wrong with a shard, in words that go after its name."""


def is_shard_name(path: Path) -> bool:
    """Say whether a path is read as a shard, by its name; hidden ones are not."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def read_members(path: Path, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Member]:
    """Read the ordinary files in a shard one after the other; folders, links and devices are passed over.

    Args:
        path: A tar file, plain or packed by gzip.
        wanted: Whether a file is to be read, by its name; the others are passed over, without being read where the
            shard is plain.

    Raises:
        DataError: The shard cannot be read, or no further: it is damaged or cut short.
    """
    try:
        if not stat.S_ISREG((status := path.stat()).st_mode):  # a named pipe would wait for ever
            raise _DamageError("is not an ordinary file")
        with path.open("rb") as file:
            if file.peek(2)[:2] == b"\x1f\x8b":
                unpacked = cast(BinaryIO, gzip.GzipFile(fileobj=file))
                yield from _members(_Tar(unpacked, status.st_size, packed=True), wanted)
            else:
                yield from _members(_Tar(file, status.st_size), wanted)
    except OSError as error:  # gzip's own say what a checksum is, and have no strerror
        said = f": {error.strerror}" if error.strerror else ": it is damaged"
        raise DataError(f"cannot read {printable(path)}{said}") from None
    except (EOFError, zlib.error, tarfile.TarError, ValueError):
        raise DataError(f"{printable(path)} is damaged, and cannot be read further") from None
    except _DamageError as damage:
        raise DataError(f"{printable(path)} {damage}") from None


class _Tar:
    """A tar file's bytes, forward only: all that are asked for, or none."""

    def __init__(self, stream: BinaryIO, size: int, *, packed: bool = False) -> None:
        self._stream = stream
        self._packed = packed
        self._end = FREE_BYTES + MAX_RATIO * size if packed else size

    def read(self, size: int) -> bytes:
        """Read so many bytes."""
        data = self._stream.read(size)
        if len(data) < size:
            raise _DamageError("is cut short")
        if self._packed and self._stream.tell() > self._end:
            raise _DamageError(f"unpacks to more than {MAX_RATIO} times its size, and is read no further")
        return data

    def skip(self, size: int) -> None:
        """Pass over so many bytes."""
        if not self._packed:
            if size > self._end - self._stream.tell():
                raise _DamageError("is cut short")
            self._stream.seek(size, io.SEEK_CUR)
            return
        while size > 0:
            size -= len(self.read(min(size, _STEP)))

    def read_padded(self, size: int) -> bytes:
        """Read so many bytes, and pass over what fills their last block."""
        data = self.read(size)
        self.skip(-size % _BLOCK)
        return data


def _members(tar: _Tar, wanted: Callable[[str], bool]) -> Iterator[Member]:
    for info in _headers(tar):
        size, name = info.size, info.name.lstrip("/")
        while name.startswith("./"):
            name = name[2:].lstrip("/")
        if not wanted(name) or not info.isreg():
            has_data = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
            tar.skip(size + -size % _BLOCK if has_data else 0)
        elif fault := _fault(info):
            tar.skip(size + -size % _BLOCK)
            yield Member(name, b"", fault)
        else:
            yield Member(name, tar.read_padded(size))


def _fault(info: tarfile.TarInfo) -> str | None:
    if info.type == tarfile.GNUTYPE_SPARSE:
        return "is stored with holes (a sparse file), which are not filled"
    if info.size > MAX_MEMBER_BYTES:
        return f"is too large: {info.size:,} bytes, the limit in a shard is {MAX_MEMBER_BYTES:,}"
    return None


def _headers(tar: _Tar) -> Iterator[tarfile.TarInfo]:
    """Read the header of each member, with the long name and size that headers before it may hold."""
    extra: dict[str, bytes] = {}
    while any(block := tar.read(_BLOCK)):
        info = _header(block)
        if info.size < 0:
            raise _DamageError("is damaged: a member has less than no bytes")
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, *_RECORDS):
            if info.size > MAX_EXTRA_BYTES:
                raise _DamageError(f"is damaged: a header has {info.size:,} bytes")
            data = tar.read_padded(info.size)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                extra["path"] = data.partition(b"\0")[0]
            elif info.type != tarfile.GNUTYPE_LONGLINK:
                extra.update(_records(data))
            continue
        more = info.type == tarfile.GNUTYPE_SPARSE and block[_SPARSE_MORE]
        while more:
            more = tar.read(_BLOCK)[_EXTENSION_MORE]
        if extra:
            info.name = extra.get("path", info.name.encode("utf-8", "surrogateescape")).decode(
                "utf-8", "surrogateescape"
            )
            info.size = int(extra.get("size", info.size))
            extra = {}
            if info.size < 0:
                raise _DamageError("is damaged: a member has less than no bytes")
        yield info


def _header(block: bytes) -> tarfile.TarInfo:
    """Take a header apart; what most have, in a third of the time that tarfile takes for all that may be in one."""
    name, size, stated = block[:100].rstrip(b"\0"), block[124:136].strip(b"\0 "), block[148:156].strip(b"\0 ")
    usual = (
        block[156:157] == tarfile.REGTYPE and not block[345] and b"\0" not in name and _OCTAL.issuperset(size + stated)
    )
    if usual and size and stated and int(stated, 8) == sum(block) - sum(block[148:156]) + 8 * ord(" "):
        info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
        info.size = int(size, 8)
        return info
    return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")


def _records(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Take apart what stands in a POSIX header: each record is "LENGTH KEY=VALUE" and a line's end."""
    place = 0
    while place < len(data):
        head, space, _ = data[place : place + 20].partition(b" ")
        end = place + int(head)
        if not space or end <= place + len(head) + 1 or end > len(data):
            raise _DamageError("is damaged: a header does not hold what it says")
        key, _, value = data[place + len(head) + 1 : end - 1].partition(b"=")
        if key in (b"path", b"size"):
            yield key.decode(), value
        place = end
