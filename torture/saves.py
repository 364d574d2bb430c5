"""Saves that fail: each system call of a save in turn, and a disk that is full. Is all there that was before?

Where there is Linux, strace, and leave to use it, the kernel is told by ``strace -e inject`` to refuse one call of a
save with ENOSPC, EACCES or EIO: whatever made the call meets it, Python, NumPy or a library in C. The call is refused,
not begun: a disk that fails with half a write done, or that lies about what it holds, is not reached.

Elsewhere, and in the tests, the call fails in Python: in whichever function of ``os`` or method of an open file was to
make it. What C code does by itself is not reached then, nor what the end of a ``with`` closes.

A disk is really full where a small one can be mounted, which takes root; else that is left out.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from digitnet.atomic import REMNANT
from digitnet.errors import DigitnetError
from torture.outcome import Outcome
from torture.refusals import BY_KERNEL, ERRORS, IN_PYTHON, Fault, Method, may_trace
from torture.saved import SAVES, Save
from torture.trainings import NAME, RECIPES, arguments, differences, run

DISKS = 8  # that are really full
ROOMY = "64m"


def saves(trials: int, seed: int) -> Outcome:
    """Let each call of each save fail, or as many of them as there are trials, and fill disks."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="digitnet-torture-") as place:
        traced = may_trace(Path(place))
        outcome = inject(BY_KERNEL if traced else IN_PYTHON, trials, seed, Path(place))
        disks = _fill_disks(min(DISKS, trials), random.Random(seed), Path(place))
    failures = (*outcome.failures, *(disks or ()))
    figures = outcome.figures | {"by_strace": float(traced), "full_disks": 0.0 if disks is None else min(DISKS, trials)}
    count = outcome.trials + int(figures["full_disks"])
    elapsed_s = time.monotonic() - started
    return Outcome(name="saves", trials=count, failures=failures, figures=figures, elapsed_s=elapsed_s)


def inject(method: Method, trials: int, seed: int, place: Path) -> Outcome:
    """Let calls of all saves fail, one in each trial: all of them, or so many by chance."""
    started = time.monotonic()
    faults: list[Fault] = []
    for save in SAVES.values():
        with _folder(save, place) as folder:
            calls = method.count(save, folder)
        faults += [Fault(save.name, *call, e) for call in _numbered(calls) for e in ERRORS]
    chosen = faults if trials >= len(faults) else random.Random(seed).sample(faults, trials)
    failures = [f"{fault}: {wrong}" for fault in chosen for wrong in _attempt(method, fault, place)]
    return Outcome(
        name="saves",
        trials=len(chosen),
        failures=tuple(failures),
        figures={"of": float(len(faults))},
        elapsed_s=time.monotonic() - started,
    )


def _numbered(calls: Counter[str]) -> Iterator[tuple[str, int]]:
    for call, count in sorted(calls.items()):
        yield from ((call, number) for number in range(1, count + 1))


@contextmanager
def _folder(save: Save, place: Path) -> Iterator[Path]:
    """Make a folder in which a save has been made twice."""
    folder = Path(tempfile.mkdtemp(dir=place))
    for version in range(1, save.before + 1):
        save.write(folder, version)
    yield folder
    shutil.rmtree(folder)


def _attempt(method: Method, fault: Fault, place: Path) -> Iterator[str]:
    """Let a save fail; say what is wrong with what it says and leaves."""
    save = SAVES[fault.save]
    with _folder(save, place) as folder:
        code, said = method.fail(save, folder, fault)
        lines = said.splitlines()
        if code == 0 and not save.may_go_on(fault.call):  # what follows looks at what it made
            yield "the save said nothing"
        elif code != 0 and (code != 1 or len(lines) != 1 or not re.match(r"error: .*\w.*: ", lines[0])):
            yield f"exit code {code}, and {said!r}"
        elif code != 0 and save.file not in said and f"{folder}: " not in said:
            yield f"the file is not named: {said!r}"
        if remnants := [path.name for path in folder.rglob("*") if REMNANT in path.name]:
            yield f"left {remnants}"
        try:
            found = save.read(folder)
            if found != save.before + 1 and (found != save.before or (code == 0 and not save.may_do_without)):
                yield f"version {save.before} was there, and now {found}"
            save.write(folder, save.before + 1)
            if (found := save.read(folder)) != save.before + 1:
                yield f"tried again, version {found} is there"
        except (DigitnetError, OSError, ValueError, AssertionError) as error:
            yield f"what is there cannot be read: {type(error).__name__}: {error}"


def _fill_disks(count: int, numbers: random.Random, place: Path) -> list[str] | None:
    """Train on disks that are too small, make them larger, and go on; return what went wrong, None without disks."""
    disk, recipe = place / "disk", RECIPES[0]
    disk.mkdir()
    if not _mount(disk, ROOMY):
        return None
    _unmount(disk)
    ended = run(arguments(recipe, place / "reference"), place / "log")
    if ended.code != 0:
        return [f"undisturbed, a training ended with exit code {ended.code}: {ended.said}"]
    reference = place / "reference" / NAME
    needed = sum(path.stat().st_size for path in reference.iterdir())
    return [wrong for _ in range(count) for wrong in _fill_disk(numbers.randrange(needed), recipe, disk, reference)]


def _fill_disk(size_bytes: int, recipe: str, disk: Path, reference: Path) -> Iterator[str]:
    label = f"a disk of {size_bytes} bytes"
    _mount(disk, str(size_bytes or 1))
    try:
        ended = run(arguments(recipe, disk / "runs"), disk.parent / "log")
        errors = [line for line in ended.said.splitlines() if line.startswith("error: ")]
        if ended.code != 1 or len(errors) != 1 or "No space left" not in errors[0] or "Traceback" in ended.said:
            yield f"{label}: exit code {ended.code}: {ended.said}"
        _mount(disk, f"{ROOMY},remount")
        ended = run(arguments(recipe, disk / "runs"), disk.parent / "log")
        if ended.code != 0:
            yield f"{label}, made larger: exit code {ended.code}: {ended.said}"
        else:
            yield from (f"{label}, made larger: {wrong}" for wrong in differences(disk / "runs" / NAME, reference))
    except (DigitnetError, OSError, IndexError) as error:
        yield f"{label}: {type(error).__name__}: {error}"
    finally:
        _unmount(disk)


def _mount(folder: Path, size: str) -> bool:
    if sys.platform != "linux":
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True, capture_output=True)
