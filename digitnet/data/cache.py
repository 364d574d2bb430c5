"""Decoded data sets on disk, mapped into memory: made once, in one rename, and read in milliseconds."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from digitnet.data.digits import Digits
from digitnet.data.idx import Part
from digitnet.errors import printable

PATIENCE_S = 3.0  # then a person is told what is waited for

Parts = Mapping[Part, Digits]


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
        held = _lock(folder.parent / f"{key}.lock")
    except (OSError, NotImplementedError):  # a read-only home; the latter: one on a file system without locks
        return build()[part]
    with held:
        if (digits := _read(folder, part)) is not None:  # another process was first
            return digits
        parts = build()
        with contextlib.suppress(OSError):  # a full disk
            _store(folder, parts)
    return parts[part]


def read_stored(folder: Path) -> Parts | None:
    """Read all of a set in the cache; None where a part of it is absent or damaged."""
    parts = {part: digits for part in get_args(Part) if (digits := _read(folder, part)) is not None}
    return parts if len(parts) == len(get_args(Part)) else None


def remnants(folder: Path) -> list[Path]:
    """List what processes that were killed have left in the cache, and what one at work is just making."""
    return sorted(folder.glob("*.part-*"))


def _lock(path: Path) -> contextlib.AbstractContextManager[object]:
    """Take a lock, however long another process holds it: it may be downloading over a slow line."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        return lock.acquire(timeout=PATIENCE_S)
    except Timeout:
        logging.getLogger(__name__).warning("Waiting for another process, which holds %s.", printable(path))
        return lock.acquire()


def _sync(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _store(folder: Path, parts: Parts) -> None:
    for remnant in folder.parent.glob(f"{folder.name}.part-*"):  # of a killed process: we hold the lock
        shutil.rmtree(remnant, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
    try:
        for part, digits in parts.items():
            np.save(temporary / f"{part}-images.npy", digits.images.numpy())
            np.save(temporary / f"{part}-targets.npy", digits.targets.numpy())
        info = {part: {"name": d.name, "fingerprint": d.fingerprint} for part, d in parts.items()}
        (temporary / "info.json").write_text(json.dumps(info))
        for path in temporary.iterdir():  # a power cut after the rename would leave files full of zeros
            _sync(path)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one: _read has just refused it
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(folder: Path, part: Part) -> Digits | None:
    try:
        info = json.loads((folder / "info.json").read_text())[part]
        # Mode c maps copy-on-write: torch warns of arrays that it may not write to.
        images = np.load(folder / f"{part}-images.npy", mmap_mode="c", allow_pickle=False)
        targets = np.load(folder / f"{part}-targets.npy", allow_pickle=False)
        return Digits(
            name=info["name"],
            images=torch.from_numpy(images),
            targets=torch.from_numpy(targets),
            fingerprint=info["fingerprint"],
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError):  # absent or damaged: built anew
        return None
