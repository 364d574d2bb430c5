"""Malformed command lines, drawn by hypothesis: each ends with a known exit code, and one line of what is wrong."""

from __future__ import annotations

import gc
import io
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import torch
import typer
from PIL import Image

from digitnet.cli import app
from digitnet.data import load
from digitnet.data.idx import Part
from digitnet.data.strokes import draw_strokes
from torture.command_lines import BAD_NAMES, lines
from torture.outcome import Outcome

COMMAND = typer.main.get_command(app)  # once: it takes longer than most lines do
STDIN = b"7.png\nmissing.png\n"
CODES = {0, 1, 2, 3, 4, 130}  # and 141, where the reader of stdout has gone, as none does here
SMALL: dict[Part, int] = {"train": 200, "test": 60}  # strokes, where no size is named
LIMIT_S = 0.5  # of processor time: a line that is right by chance is interrupted then, as by Ctrl-C
WAIT_S = 10.0  # by the clock, for a line that waits
MEMORY_BYTES = 4 << 30  # above what is used at the start; a network that needs more is refused, not swapped
PATIENCE_S = 10.0  # Python swallows an interrupt that comes while it frees an object: once more, then
DEAD_PROXY = "http://127.0.0.1:9"  # the discard port: refused at once


def commands(trials: int, seed: int) -> Outcome:
    """Run command lines that nobody means, in this process, and judge how each ends."""
    started = time.monotonic()
    failures: list[str] = []
    ended: list[Ended] = []
    with trial_folder() as folder:

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=trials,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(lines())
        def attempt(arguments: list[str]) -> None:
            folder.restore()
            result = run_line(arguments)
            ended.append(result)
            failures.extend(f"digitnet {arguments!r}: {fault}" for fault in faults(arguments, result))

        attempt()
    codes = [one.code for one in ended]
    figures = {f"exit_{code}": float(codes.count(code)) for code in sorted(set(codes))}
    figures["interrupted"] = sum(one.interrupted for one in ended)
    elapsed_s = time.monotonic() - started
    return Outcome(name="commands", trials=len(ended), failures=tuple(failures), figures=figures, elapsed_s=elapsed_s)


@dataclass(frozen=True)
class Ended:
    """How a command line ended, and what it said."""

    code: int
    stdout: str
    stderr: str
    error: BaseException | None = None
    """What came out of it instead of an exit code."""
    interrupted: bool = False


def run_line(arguments: Sequence[str], *, limit_s: float = LIMIT_S) -> Ended:
    """Run a command line in this process, as a process of its own would; it is interrupted where it takes long."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(STDIN))
    code, error = 0, None
    alarms: list[int] = []
    try:
        with redirect_stdout(out), redirect_stderr(err), _interrupted(limit_s) as alarms:
            COMMAND(list(arguments), prog_name="digitnet")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException as caught:  # a bug's traceback would be shown
        error = caught
    finally:
        sys.stdin = before
    return Ended(code, _text(out), _text(err), error, bool(alarms))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


def faults(arguments: Sequence[str], result: Ended) -> Iterator[str]:
    """Name what is wrong with how a command line ended."""
    if result.error is not None and result.interrupted:
        return  # of code that is broken off in the middle, anything may come
    if result.error is not None:
        where = traceback.extract_tb(result.error.__traceback__)[-1]
        yield f"{type(result.error).__name__}: {result.error} ({where.filename}:{where.lineno})"
        return
    if result.code not in CODES:
        yield f"ended with exit code {result.code}"
    if "Traceback" in result.stderr and not result.interrupted:
        yield f"a traceback on stderr: {result.stderr!r}"
    # Not splitlines: a separator that is no line feed is one character in a line.
    said = sum(line.startswith("error: ") for line in result.stderr.split("\n"))
    # No command at all: the help, and the code of wrong usage.
    helped = result.code == 2 and "Usage: " in result.stdout + result.stderr and said == 0 and len(arguments) <= 1
    completion = any("-completion" in word for word in arguments)  # which is typer's, in its words
    if result.code in (1, 2) and said != 1 and not helped and not completion:
        yield f"exit code {result.code} with {said} error lines: {result.stderr!r}"
    if result.code in (3, 4) and not said:
        yield f"exit code {result.code} without an error line: {result.stderr!r}"
    for_programs = "--csv" in arguments  # which holds names as they are, where stdout is no terminal
    said_in_all = set(result.stderr if for_programs else result.stdout + result.stderr) - {"\n", "\t"}
    if raw := sorted(letter for letter in said_in_all if unicodedata.category(letter) in ("Cc", "Cs")):
        yield f"raw control characters in the output: {raw}"


class TrialFolder:
    """A folder with a few files to name, which is made anew where a command has written to it."""

    def __init__(self, place: Path) -> None:
        self.pattern = place / "pattern"
        self.path = place / "kept" / "in" / "here" / "cwd"
        fill(self.pattern)
        self._states: dict[str, tuple[int, int]] = {}
        self.renew()

    def renew(self) -> None:
        """Make it anew, and the current folder."""
        os.chdir(self.pattern)
        shutil.rmtree(self.path.parents[2], ignore_errors=True)
        shutil.copytree(self.pattern, self.path, symlinks=True, copy_function=shutil.copy2)
        os.mkfifo(self.path / "pipe")  # copytree would wait for its writer
        os.chdir(self.path)
        self._states = self._look()

    def restore(self) -> None:
        """Make it anew where something in it, or beside it, has changed."""
        if self._look() != self._states:
            self.renew()

    def _look(self) -> dict[str, tuple[int, int]]:
        found = {}
        for folder, _, files in os.walk(self.path.parents[2]):
            for path in (folder, *(f"{folder}/{name}" for name in files)):
                state = os.lstat(path)
                found[path] = (state.st_mtime_ns, state.st_size)
        return found


def fill(folder: Path) -> None:
    """Put into a folder what the command lines name: a run, digits, and what only looks like them."""
    images, targets = draw_strokes(40, seed=7)
    for index, (image, target) in enumerate(zip(images, targets.tolist(), strict=True)):
        (folder / "digits" / str(target)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / "digits" / str(target) / f"{index}.png")
    Image.fromarray(images[0, 0].numpy()).save(folder / "7.png")
    for name in BAD_NAMES:
        if name.endswith(".png"):
            shutil.copyfile(folder / "7.png", folder / name)
        else:
            shutil.copytree(folder / "digits", folder / name)
    for name in ("empty", "locked"):
        (folder / name).mkdir()
    (folder / "locked").chmod(0)
    (folder / "text.txt").write_text("no picture\n")
    (folder / "zeros.bin").write_bytes(bytes(100))
    (folder / "loop").symlink_to("loop")
    options = "--model mlp --preset fast --hidden-sizes 8 --dataset strokes --train-size 90 --steps 2 --keep-epochs"
    made = run_line(["train", "--output", str(folder), "--name", "run", *options.split()], limit_s=60)
    assert made.code == 0, made


@contextmanager
def trial_folder() -> Iterator[TrialFolder]:
    """Work in a folder of one's own, with little data, little memory, no network and nothing of the user's."""
    before, sizes = dict(os.environ), dict(load.STROKES_SIZES)
    home = Path.cwd()
    threshold, limits = gc.get_threshold(), resource.getrlimit(resource.RLIMIT_AS)
    with tempfile.TemporaryDirectory(prefix="digitnet-torture-") as place:
        try:
            load.STROKES_SIZES.update(SMALL)
            _lend(Path(place))
            torch.zeros(1)
            folder = TrialFolder(Path(place))
            gc.set_threshold(100_000)  # as the command itself does
            resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY_BYTES, limits[1]))
            yield folder
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
            gc.collect()  # what an interrupt left half made complains when it is freed: here, not later elsewhere
            gc.set_threshold(*threshold)
            load.STROKES_SIZES.update(sizes)
            os.environ.clear()
            os.environ.update(before)
            os.chdir(home)


def _lend(place: Path) -> None:
    """Give the commands a home and a cache of their own, and no network."""
    for name in ("DIGITNET_DATA_DIR", "DIGITNET_PROG", "XDG_CACHE_HOME", "FORCE_COLOR", "COLUMNS"):
        os.environ.pop(name, None)
    os.environ |= {"HOME": str(place / "home"), "DIGITNET_CACHE_DIR": str(place / "cache")}
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        os.environ[name] = DEAD_PROXY


def _address_space() -> int:
    """Return the bytes of addresses that this process has; 64 GiB where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 64 << 30


@contextmanager
def _interrupted(after_s: float) -> Iterator[list[int]]:
    """Interrupt what takes longer, as Ctrl-C does; yield a list that tells of each time."""
    alarms: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> Any:
        alarms.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGALRM, signal.SIGPROF)}
    signal.setitimer(signal.ITIMER_PROF, after_s, PATIENCE_S)
    signal.setitimer(signal.ITIMER_REAL, max(WAIT_S, after_s), PATIENCE_S)
    try:
        yield alarms
    finally:
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
