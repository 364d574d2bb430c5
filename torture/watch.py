"""Trials in processes of their own, watched from outside: for exceptions, for time, for memory, and for what they say.

Each trial makes its files anew from the seed and its number alone, so any of them can be repeated by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import torch

from digitnet.errors import DigitnetError

Files = dict[str, bytes]  # by their names, which may have folders in them

LIMIT_S = 5.0  # of a processor's time, which does not depend on what else the machine has to do
WAIT_S = 60.0  # by the clock, after which a trial is ended: it waits for something, or never stops
LIMIT_MB = 1_000  # more than the worker began with, which is what the process has that it was forked from
TRIALS_A_WORKER = 250  # so that a peak belongs to few trials, and what a trial breaks hurts few others
SHOWN = 20  # failures that are told one by one


@dataclass(frozen=True, kw_only=True)
class Ordeal:
    """What is tried many times."""

    name: str
    """Such as ``pictures, PNG``."""
    make: Callable[[random.Random], Files]
    """Makes the files of a trial."""
    attempt: Callable[[Path], None]
    """Reads the files in a folder; a DigitnetError is a good answer, any other exception a failure."""
    quiet: bool = True
    """Nothing may be written to stderr, not even by a library in C."""


class Told(NamedTuple):
    """What a worker says of a trial."""

    trial: int
    elapsed_s: float
    """Of a processor's time; by the clock, of a trial that had to be ended."""
    peak_mb: float
    """Of the worker so far."""
    fault: str | None


@dataclass(frozen=True, kw_only=True)
class Stood:
    """What the trials of an ordeal came to."""

    trials: int
    failures: tuple[str, ...]
    longest_s: float
    peak_mb: float


def files_of(ordeal: Ordeal, seed: int, trial: int) -> Files:
    """Make the files of a trial."""
    return ordeal.make(random.Random(f"{ordeal.name} {seed} {trial}"))


def undergo(ordeal: Ordeal, trials: int, seed: int) -> Stood:
    """Make so many trials, in worker processes one after another."""
    failures: list[str] = []
    longest_s = peak_mb = 0.0
    for told in _trials(ordeal, trials, seed):
        longest_s, peak_mb = max(longest_s, told.elapsed_s), max(peak_mb, told.peak_mb)
        if told.fault is not None:
            failures.append(_describe(ordeal, seed, told))
    if len(failures) > SHOWN:
        failures[SHOWN:] = [f"{ordeal.name}: and {len(failures) - SHOWN} more failures"]
    return Stood(trials=trials, failures=tuple(failures), longest_s=longest_s, peak_mb=peak_mb)


def _describe(ordeal: Ordeal, seed: int, told: Told) -> str:
    digest = hashlib.sha256(repr(sorted(files_of(ordeal, seed, told.trial).items())).encode()).hexdigest()[:12]
    return f"{ordeal.name}, seed {seed}, trial {told.trial} (files {digest}): {told.fault}"


def _trials(ordeal: Ordeal, trials: int, seed: int) -> Iterator[Told]:
    first = 0
    while first < trials:
        last = min(first + TRIALS_A_WORKER, trials)
        for told in _watch_worker(ordeal, range(first, last), seed):
            first = told.trial + 1
            yield told


def _watch_worker(ordeal: Ordeal, trials: range, seed: int) -> Iterator[Told]:
    """Start a worker and pass on what it says; end it at the first trial that takes too long or ends the worker."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    worker = os.fork()
    if worker == 0:
        os.close(reader)
        _work(ordeal, trials, seed, writer)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb", buffering=0) as stream:
            for trial in trials:
                if not select.select([stream], [], [], WAIT_S)[0]:
                    yield Told(trial, WAIT_S, 0.0, f"still at it after {WAIT_S:g} s")
                    return
                if not (line := stream.readline()):
                    yield Told(trial, 0.0, 0.0, "ended the process")
                    return
                yield Told(*json.loads(line))
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def _work(ordeal: Ordeal, trials: range, seed: int, writer: int) -> NoReturn:
    """Make trials and say of each how it went; never returns."""
    began_mb = _peak_mb()
    torch.set_num_threads(1)  # OpenMP's other threads stayed behind when this process was forked, and are waited for
    try:
        with tempfile.TemporaryDirectory(prefix="torture-") as place, os.fdopen(writer, "wb", buffering=0) as stream:
            said = os.open(Path(place) / "stderr", os.O_RDWR | os.O_CREAT)
            os.dup2(said, 2)
            sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
            for trial in trials:
                told = _try(ordeal, Path(place) / str(trial), seed, trial, began_mb)
                if ordeal.quiet and told.fault is None and (text := _take(said)):
                    told = told._replace(fault=f"wrote to stderr: {text[:200]!r}")
                stream.write(json.dumps(told).encode() + b"\n")
                if trial == trials[-1]:
                    break
    finally:
        os._exit(0)


def _try(ordeal: Ordeal, folder: Path, seed: int, trial: int, began_mb: float) -> Told:
    for name, data in files_of(ordeal, seed, trial).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    started, fault = time.process_time(), None
    try:
        ordeal.attempt(folder)
    except DigitnetError as error:
        if "\n" in str(error) or len(str(error)) > 5_000:
            fault = f"its message is no line: {str(error)[:300]!r}"
    except BaseException as error:  # a bug, which is what we look for
        frame = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__}: {str(error)[:300]!r} in {Path(frame.filename).name}, line {frame.lineno}"
    elapsed_s, peak_mb = time.process_time() - started, _peak_mb()
    if elapsed_s > LIMIT_S:
        fault = fault or f"took {elapsed_s:.1f} s"
    if peak_mb - began_mb > LIMIT_MB:
        fault = fault or f"took {peak_mb - began_mb:.0f} MB"
    return Told(trial, elapsed_s, peak_mb, fault)


def _take(said: int) -> bytes:
    """Return what has been written to stderr, and forget it."""
    size = os.fstat(said).st_size
    text = os.pread(said, 1000, 0) if size else b""
    os.ftruncate(said, 0)
    os.lseek(said, 0, os.SEEK_SET)
    return text


def _peak_mb() -> float:
    """Return the most memory that this process ever had; a forked one begins with what it has of its parent."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
