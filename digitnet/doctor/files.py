"""The files that digitnet reads, opened and checked, from networks to the cache; and the places that it writes to."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from digitnet.doctor.check import Check, Status, counted, fail, ok, reason, warn
from digitnet.errors import CheckpointError, DataError
from digitnet.runs import BEST, RUNS

LOW_BYTES = 200_000_000  # MNIST takes 55 MB in the cache, and as much again while it is decoded
MOST_RUNS = 50  # a second's work
ENOUGH = 8  # of ten drawn digits; by chance, it would be one


def check_network(name: str) -> Check:
    """Load a network that ships, and let it read ten digits drawn from the built-in strokes."""
    import torch

    from digitnet.data.strokes import draw
    from digitnet.predictor import Classifier

    targets = torch.arange(10)
    try:
        logits = Classifier.load(name).logits(draw(targets, torch.Generator().manual_seed(0)))
    except CheckpointError as error:
        return fail(name, reason(error), "install digitnet anew, or train a network of your own: digitnet train")
    right = int((logits.argmax(1) == targets).sum())
    found = f"reads {right} of 10 drawn digits right"
    if right < ENOUGH:
        return fail(name, found, "install digitnet and PyTorch anew: the network or the arithmetic is not as it was")
    return ok(name, found)


def check_runs(name: str) -> Check:
    """Load the networks of the newest runs; the very newest is the one that predict takes."""
    from digitnet.checkpoint import load_checkpoint

    paths = sorted(RUNS.glob(f"*/{BEST}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    faults: dict[Path, str] = {}
    for path in paths[:MOST_RUNS]:
        try:
            load_checkpoint(path).build()
        except CheckpointError as error:
            faults[path] = reason(error)
    if not paths:
        return ok(name, f"none in ./{RUNS}; pretrained-cnn reads")
    if faults:
        first, *others = faults
        found = faults[first] + (f"; nor can be read: {', '.join(map(str, others))}" if others else "")
        advice = f"delete {'their folders' if others else 'its folder'}, or move {BEST} out of the way"
        return (fail if paths[0] in faults else warn)(name, found, advice)
    some = f"the newest {MOST_RUNS} of " if len(paths) > MOST_RUNS else ""
    return ok(name, f"{some}{len(paths)} in ./{RUNS} can be read; the newest is {paths[0].parent.name}")


def check_mnist(name: str) -> Check:
    """Look for MNIST where train and eval do, but for its download; compare it with its fingerprints."""
    from digitnet.data.cache import cache_dir, read_stored
    from digitnet.data.mnist import read_mnist

    if chosen := os.environ.get("DIGITNET_DATA_DIR"):
        try:
            read_mnist(Path(chosen))
        except DataError as error:
            return fail(name, reason(error), "correct or unset DIGITNET_DATA_DIR, or name the folder by --data-dir")
        return ok(name, f"all of it, in DIGITNET_DATA_DIR, {chosen}")
    if read_stored(cache_dir() / "mnist") is not None:
        return ok(name, "in the cache")
    advice = (
        "the first train or eval downloads it, 12 MB; without a network, put its four IDX files into a folder and name "
        "that by DIGITNET_DATA_DIR"
    )
    return warn(name, "not on this machine", advice)


def check_cache(name: str) -> Check:
    """Read each data set in the cache, and compare it with its fingerprint; of shards, whether all is there."""
    from digitnet.data.cache import cache_dir, remnants

    folder = cache_dir()
    if not folder.exists():
        return ok(name, f"none yet; it will be {folder}")
    if not folder.is_dir():
        return fail(name, f"{folder} is not a folder", "delete it, or name another one by DIGITNET_CACHE_DIR")
    left = remnants(folder)
    stored = {
        path.parent for pattern in ("*/info.json", "*/*-images.npy", "*/shards.json") for path in folder.glob(pattern)
    }
    sets = sorted(stored.difference(left))
    faults = [f"{path} {fault}" for path in sets if (fault := _fault_of(path))]
    if faults:
        return fail(name, "; ".join(faults), "delete what is named: it is made anew when it is needed")
    if left:
        named = ", ".join(map(str, left))
        return warn(name, f"left by a process that was killed: {named}", "delete it, unless a digitnet is at work now")
    return ok(name, f"{counted(len(sets), 'data set')}, whole, {_size_of(sets) / 1e6:.0f} MB in {folder}")


def _fault_of(folder: Path) -> str | None:
    """Say what is wrong with a data set in the cache."""
    from digitnet.data.cache import read_stored
    from digitnet.data.digits import fingerprint
    from digitnet.data.mnist import FINGERPRINTS
    from digitnet.data.shard_set import INFO, read_unpacked

    try:
        if (folder / INFO).exists():  # of any size, which would take its time to read
            return None if read_unpacked(folder.name, folder) else "cannot be read"
        parts = read_stored(folder)
        if parts is None:
            return "cannot be read"
        for part, digits in parts.items():
            expected = FINGERPRINTS[part] if folder.name.startswith("mnist") else digits.fingerprint
            if not expected == digits.fingerprint == fingerprint(digits.images, digits.targets):
                return f"holds other digits than it should, in its {part} part"
    except Exception as error:  # one set must not hide the others
        return f"cannot be read ({reason(error)})"
    return None


def _size_of(folders: list[Path]) -> int:
    return sum(path.stat().st_size for folder in folders for path in folder.iterdir())


def check_runs_place(name: str) -> Check:
    """Try to write where train makes its run folders."""
    return _check_place(name, RUNS.absolute(), "failed", "go to a folder of your own, or name one by --output DIR")


def check_cache_place(name: str) -> Check:
    """Try to write where decoded data sets are kept; without it, each command decodes them anew."""
    from digitnet.data.cache import cache_dir

    advice = "name a folder of your own by DIGITNET_CACHE_DIR; until then, MNIST is decoded each time"
    return _check_place(name, cache_dir().absolute(), "warning", advice)


def check_temporary_place(name: str) -> Check:
    """Try to write where a download is unpacked."""
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        return fail(name, reason(error), "name a folder that you may write to by TMPDIR")
    return _check_place(name, folder, "failed", "name a folder that you may write to by TMPDIR")


def _check_place(name: str, folder: Path, status: Status, advice: str) -> Check:
    """Write a nameless file into a folder, or into the one that it would be made in, and look at the free space."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    shown = str(folder) if there == folder else f"{folder}, to be made in {there}"
    try:
        with tempfile.TemporaryFile(dir=there) as stream:
            stream.write(bytes(4096))
    except OSError as error:
        return Check(
            name=name, status=status, found=f"{shown}: cannot be written ({error.strerror or error})", advice=advice
        )
    free = shutil.disk_usage(there).free
    room = f"{free / 1e9:.1f} GB free" if free >= 1e9 else f"{free / 1e6:.0f} MB free"
    if free < LOW_BYTES:
        return warn(name, f"{shown}: {room}", f"make room: {LOW_BYTES / 1e6:.0f} MB are wanted")
    return ok(name, f"{shown}: {room}")
