"""Two ways to let one call of a save fail, and see how a command that makes it ends; see ``saves.py``."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from digitnet.cli import _one_line_errors
from torture.saved import SAVES, Save
from torture.trainings import PATIENCE_S, forked, redirect

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
