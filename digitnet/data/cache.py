"""Decoded data sets on disk, mapped into memory: made once, in one rename, and read in milliseconds."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import torch

from digitnet.config import IMAGE_SIZE, NUM_CLASSES
from digitnet.data.digits import Digits
from digitnet.data.idx import Part
from digitnet.errors import printable

if TYPE_CHECKING:
    from filelock import FileLock

PATIENCE_S = 3.0  # then a person is told what is waited for

Parts = Mapping[Part, Digits]
Made = TypeVar("Made")

MAX_INFO_BYTES = 100_000


def cache_dir() -> Path:
    """Return the per-user folder of decoded data sets: ``DIGITNET_CACHE_DIR``, else where the system keeps such."""
    if chosen := os.environ.get("DIGITNET_CACHE_DIR"):
        return Path(chosen)
    import platformdirs

    return platformdirs.user_cache_path("digitnet")


def cached(key: str, part: Part, build: Callable[[], Parts]) -> Digits:
    """Return a part of a data set from the cache; build the whole set first where it is not there.

    A set is written under a temporary name and renamed when whole, and a second process waits for the first, so
    nobody sees half of one; where that takes long, it logs a warning, which goes to stderr. Where the cache cannot be
    written, the set is built in memory each time.
    """
    folder = cache_dir() / key
    if (digits := _read(folder, part)) is not None:
        return digits
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder.parent / f"{key}.lock")
    except (OSError, NotImplementedError):  # a read-only home; the latter: one on a file system without locks
        return build()[part]
    try:
        if (digits := _read(folder, part)) is not None:  # another process was first
            return digits
        parts = build()
        with contextlib.suppress(OSError):  # a full disk
            _store(folder, parts)
        return parts[part]
    finally:
        with contextlib.suppress(OSError):  # of a disk that fails: the digits are there all the same
            lock.release()


def made(key: str, read: Callable[[Path], Made | None], make: Callable[[Path], None]) -> Made:
    """Return what a folder of the cache holds; make it first where it is not there.

    As ``cached``, but for what is too large to be built in memory.

    Args:
        key: The folder's name.
        read: Reads the folder; None where it is not there or damaged.
        make: Writes the files into a folder that it is given.

    Raises:
        OSError: The cache cannot be written.
        NotImplementedError: It is on a file system without locks.
    """
    folder = cache_dir() / key
    if (found := read(folder)) is not None:
        return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder.parent / f"{key}.lock")
    try:
        if (found := read(folder)) is None:  # no other process was first
            with _replacing(folder) as temporary:
                make(temporary)
            found = read(folder)
        assert found is not None
        return found
    finally:
        with contextlib.suppress(OSError):
            lock.release()


def read_stored(folder: Path) -> Parts | None:
    """Read all of a set in the cache; None where a part of it is absent or damaged."""
    parts = {part: digits for part in get_args(Part) if (digits := _read(folder, part)) is not None}
    return parts if len(parts) == len(get_args(Part)) else None


def remnants(folder: Path) -> list[Path]:
    """List what processes that were killed have left in the cache, and what one at work is just making."""
    return sorted(folder.glob("*.part-*"))


def _lock(path: Path) -> FileLock:
    """Take a lock, however long another process holds it: it may be downloading over a slow line."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=PATIENCE_S)
    except Timeout:
        logging.getLogger(__name__).warning("Waiting for another process, which holds %s.", printable(path))
        lock.acquire()
    return lock


def _sync(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Lend a folder to write into, which takes the place of one in the cache when all is written."""
    for remnant in folder.parent.glob(f"{folder.name}.part-*"):  # of a killed process: we hold the lock
        shutil.rmtree(remnant, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
    try:
        yield temporary
        for path in temporary.iterdir():  # a power cut after the rename would leave files full of zeros
            _sync(path)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one: _read has just refused it
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _store(folder: Path, parts: Parts) -> None:
    with _replacing(folder) as temporary:
        for part, digits in parts.items():
            np.save(temporary / f"{part}-images.npy", digits.images.numpy())
            np.save(temporary / f"{part}-targets.npy", digits.targets.numpy())
        info = {part: {"name": d.name, "fingerprint": d.fingerprint} for part, d in parts.items()}
        (temporary / "info.json").write_text(json.dumps(info))


def _read(folder: Path, part: Part) -> Digits | None:
    paths = folder / "info.json", folder / f"{part}-images.npy", folder / f"{part}-targets.npy"
    if not all(path.is_file() for path in paths):
        return None
    try:
        return _read_files(*paths, part)
    except Exception:  # damaged, by which json and NumPy may raise anything: built anew
        return None


def _read_files(info_path: Path, images_path: Path, targets_path: Path, part: Part) -> Digits:
    """Map a part into memory; the files are where anybody may write, so what they hold is checked.

    Raises:
        ValueError: They hold no digits.
    """
    with info_path.open("rb") as stream:
        info = json.loads(stream.read(MAX_INFO_BYTES))[part]
    images, targets = _map(images_path), _map(targets_path).copy()
    digits = images.dtype == np.uint8 and images.shape == (len(targets), 1, IMAGE_SIZE, IMAGE_SIZE)
    labels = targets.dtype == np.int64 and targets.ndim == 1 and targets.size > 0
    if not (digits and labels and targets.min() >= 0 and targets.max() < NUM_CLASSES):
        raise ValueError(f"{images_path} holds {images.dtype} {images.shape}")
    if not isinstance(info["name"], str) or not isinstance(info["fingerprint"], str):
        raise ValueError(f"{info_path} holds {info}")
    return Digits(
        name=info["name"],
        images=torch.from_numpy(images),
        targets=torch.from_numpy(targets),
        fingerprint=info["fingerprint"],
    )


def _map(path: Path) -> npt.NDArray[Any]:
    """Map an array's file into memory, which takes none for what its header alone says is there."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Mode c maps copy-on-write: torch warns of arrays that it may not write to.
        array: npt.NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    return array
