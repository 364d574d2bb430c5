"""Decoded data sets on disk, mapped into memory: made once, in one rename, and read in milliseconds."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from digitnet.data.digits import Digits
from digitnet.data.idx import Part

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
    nobody sees half of one. Where the cache cannot be written, the set is built in memory each time.
    """
    from filelock import FileLock

    folder = cache_dir() / key
    if (digits := _read(folder, part)) is not None:
        return digits
    lock = FileLock(folder.parent / f"{key}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError:  # a read-only home
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
