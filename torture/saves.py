"""Saves that fail: each system call of a save in turn, and a disk that is full. Is all there that was before?

Where there is Linux, strace, and leave to use it, the kernel is told by ``strace -e inject`` to refuse one call of a
save with ENOSPC, EACCES or EIO: whatever made the call meets it, Python, NumPy or a library in C. The call is refused,
not begun: a disk that fails with half a write done, or that lies about what it holds, is not reached.

Elsewhere, and in the tests, the call fails in Python: in whichever function of ``os`` or method of an open file was to
make it. What C code does by itself is not reached then, nor what the end of a ``with`` closes.

A disk is really full where a small one can be mounted, which takes root; else that is left out.
"""

from __future__ import annotations

import errno
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from digitnet.atomic import REMNANT
from digitnet.cli import _one_line_errors
from digitnet.errors import DigitnetError
from torture.outcome import Outcome
from torture.saved import SAVES, Save
from torture.trainings import NAME, PATIENCE_S, RECIPES, arguments, differences, forked, redirect, run

ERRORS = (errno.ENOSPC, errno.EACCES, errno.EIO)
CALLS = (
    "openat", "write", "writev", "pwrite64", "fsync", "fdatasync", "ftruncate", "close", "fchmodat", "fchmod", "chmod",
    "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "rmdir", "getdents64", "fstat", "newfstatat",
    "lseek", "flock",
)  # fmt: skip
PYTHON_CALLS = (
    "open", "write", "flush", "fsync", "close", "chmod", "rename", "replace", "unlink", "remove", "mkdir", "rmdir",
    "scandir", "tofile", "flock",
)  # fmt: skip
# Whose errors name a file.
NAMING = {"open", "chmod", "rename", "replace", "unlink", "remove", "mkdir", "rmdir", "scandir"}
DISKS = 8  # that are really full
ROOMY = "64m"


@dataclass(frozen=True)
class Fault:
    """One call of a save that is refused."""

    save: str
    call: str
    count: int
    """Which call of this name, from 1."""
    error: int

    def __str__(self) -> str:
        return f"{self.save}: {errno.errorcode[self.error]} from {self.call}, call {self.count}"


@dataclass(frozen=True)
class Method:
    """A way to let calls fail."""

    count: Callable[[Save, Path], Counter[str]]
    """Make a save in a folder, and count its calls by their names."""
    fail: Callable[[Save, Path, Fault], tuple[int, str]]
    """Make a save in a folder, with a fault; return the exit code of a command that makes it, and its words."""


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


def _say_in_one_line(save: Save, folder: Path) -> int:
    """Make the next save as a command would; return its exit code."""
    try:
        with _one_line_errors(None):  # type: ignore[arg-type] # which asks it only for the names of options
            save.write(folder, save.before + 1)
    except typer.Exit as end:
        return end.exit_code
    return 0


# By the kernel.


def may_trace(place: Path) -> bool:
    """Say whether strace is there and may look on."""
    if sys.platform != "linux" or shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-qq", "-o", place / "trace", "true"], check=False, capture_output=True)
    return tried.returncode == 0


def _count_traced(save: Save, folder: Path) -> Counter[str]:
    _trace(save, folder)
    return Counter(re.findall(r"^(\w+)\(", (folder.parent / "trace").read_text(errors="replace"), re.MULTILINE))


def _fail_traced(save: Save, folder: Path, fault: Fault) -> tuple[int, str]:
    refusal = f"inject={fault.call}:error={errno.errorcode[fault.error]}:when={fault.count}"
    code, said = _trace(save, folder, "-e", refusal)
    injected = "(INJECTED)" in (folder.parent / "trace").read_text(errors="replace")
    return (code, said) if injected else (255, "the call was not made")


def _trace(save: Save, folder: Path, *options: str) -> tuple[int, str]:
    """Make a save in a process that stops before it, and goes on when strace looks on."""
    log, trace = folder.parent / "log", folder.parent / "trace"
    log.write_text("")
    process = forked(_stop_and_save, save.name, str(folder), str(log))
    _await(lambda: _status(process.pid, "State").startswith("T"))
    known = ",".join(f"?{call}" for call in CALLS)
    line = ["strace", "-qq", "-o", str(trace), "-e", f"trace={known}", *options, "-p", str(process.pid)]
    tracer = subprocess.Popen(line, stderr=subprocess.DEVNULL)
    _await(lambda: tracer.poll() is not None or _status(process.pid, "TracerPid") == str(tracer.pid))
    os.kill(process.pid or 0, signal.SIGCONT)
    process.join(PATIENCE_S)
    tracer.wait(PATIENCE_S)
    return process.exitcode if process.exitcode is not None else 255, log.read_text(errors="replace")


def _stop_and_save(name: str, folder: str, log: str) -> None:
    redirect(log)
    SAVES[name].write(Path(tempfile.mkdtemp()), 1)  # what it imports it has imported then
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(_say_in_one_line(SAVES[name], Path(folder)))


def _await(met: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not met():
        if time.monotonic() > limit:
            raise TimeoutError("a process did not come to where it stops")
        time.sleep(0.002)


def _status(process: int | None, name: str) -> str:
    found = re.search(rf"^{name}:\s*(.*)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return found[1] if found else ""


BY_KERNEL = Method(_count_traced, _fail_traced)


# In Python.


def _count_in_python(save: Save, folder: Path) -> Counter[str]:
    calls: Counter[str] = Counter()

    def look(_: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and (name := _call_name(function)):
            calls[name] += 1

    _profiled(look, save, folder)
    return calls


def _fail_in_python(save: Save, folder: Path, fault: Fault) -> tuple[int, str]:
    calls: Counter[str] = Counter()

    def refuse(_: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and (name := _call_name(function)):
            calls[name] += 1
            if (name, calls[name]) == (fault.call, fault.count):
                named = str(folder / save.file) if name in NAMING else None
                raise OSError(fault.error, os.strerror(fault.error), named)  # and this function is not called again

    said, stderr = io.StringIO(), sys.stderr
    sys.stderr = said
    try:
        return _profiled(refuse, save, folder), said.getvalue()
    finally:
        sys.stderr = stderr


def _call_name(function: Any) -> str | None:
    """Return the name of a function that makes a system call in its caller's name; None for any other."""
    owner = getattr(function, "__self__", None)
    ours = getattr(owner, "__name__", "") in ("posix", "nt", "io", "_io", "fcntl")
    ours |= isinstance(owner, io.BufferedWriter | io.FileIO) or type(owner).__name__ == "ndarray"
    name = str(getattr(function, "__name__", ""))
    return name if ours and name in PYTHON_CALLS else None


def _profiled(look: Callable[[FrameType, str, Any], None], save: Save, folder: Path) -> int:
    before = sys.getprofile()
    sys.setprofile(look)
    try:
        return _say_in_one_line(save, folder)
    finally:
        sys.setprofile(before)


IN_PYTHON = Method(_count_in_python, _fail_in_python)


# A full disk.


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
