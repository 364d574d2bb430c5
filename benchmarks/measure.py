"""A process timed from its start to its end with its own peak of memory, and the statistics of repeated figures.

Standard library only, as everything is that starts processes here: the system counts the memory of whoever starts a
process among the peak of that process, so a parent that had imported torch would hide what the child needs. What
needs torch runs in a process of its own: ``worker.py``.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes that ru_maxrss counts in: macOS counts single ones


class BenchmarkError(Exception):
    """Something could not be measured, for a reason that fits in one line."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended, and what it took."""

    seconds: float
    """Wall clock, from before it was started until it was gone."""
    peak_mb: float
    """Peak of resident memory in 10^6 bytes: its own, or that of the largest process it waited for; at least ours."""
    exit_code: int
    stdout: bytes
    stderr: bytes

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines of what it said: of stdout, or of stderr where there is nothing on stdout."""
        said = self.stdout if self.stdout.strip() else self.stderr
        return said.decode(errors="replace").strip().splitlines()[-count:]


def run_process(command: Sequence[str], *, cwd: Path, stdin: Path | None = None) -> Ended:
    """Run a command to its end; its output goes to files, so that no pipe can make it wait for us."""
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        Path(stdin or os.devnull).open("rb") as list_,
    ):
        started = time.perf_counter()
        try:
            child = subprocess.Popen(command, cwd=cwd, stdin=list_, stdout=out, stderr=err)
        except OSError as error:
            raise BenchmarkError(f"{command[0]} could not be started: {error.strerror}") from error
        try:
            # Of this child alone; getrusage(RUSAGE_CHILDREN) would keep the peak of the largest so far.
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return Ended(
            seconds=seconds,
            peak_mb=usage.ru_maxrss * PEAK_UNIT / 1e6,
            exit_code=child.returncode,
            stdout=out.read(),
            stderr=err.read(),
        )


def run_checked(command: Sequence[str], *, cwd: Path, stdin: Path | None = None) -> Ended:
    """Run a command that has to succeed.

    Raises:
        BenchmarkError: It ended with another exit code than 0; the message ends in the last line that it wrote.
    """
    ended = run_process(command, cwd=cwd, stdin=stdin)
    if ended.exit_code:
        lines = ended.stderr.decode(errors="replace").strip().splitlines() or ["it wrote nothing"]
        shown = " ".join(Path(word).name if os.sep in word else word for word in command[1:4])
        raise BenchmarkError(f"{shown} ended with exit code {ended.exit_code}: {lines[-1].removeprefix('error: ')}")
    return ended


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One thing measured several times."""

    name: str
    unit: str
    """s, MB, share, x (a ratio) or anything a second."""
    values: tuple[float, ...]
    """In the order in which they were measured; never empty."""

    @property
    def mean(self) -> float:
        """The arithmetic mean."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """The standard deviation of a sample, that is over n - 1; None of a single value, which has no spread."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Return the figure with its statistics, in plain values."""
        summary = {"n": len(self.values), "mean": self.mean, "std": self.std}
        return {
            "name": self.name,
            "unit": self.unit,
            **summary,
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
        }


def figure(name: str, unit: str, values: Sequence[float]) -> Figure:
    """Make a figure of values."""
    return Figure(name=name, unit=unit, values=tuple(values))


def ratio(name: str, above: Figure, below: Figure) -> Figure:
    """Divide two figures that were measured in turns, round by round, so that a slow spell of the machine cancels."""
    return figure(name, "x", [a / b for a, b in zip(above.values, below.values, strict=True)])


def difference(name: str, of: Figure, less: Figure) -> Figure:
    """Subtract two figures that were measured in turns, round by round."""
    return figure(name, of.unit, [a - b for a, b in zip(of.values, less.values, strict=True)])


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one part of the benchmark found."""

    title: str
    figures: tuple[Figure, ...]
    details: dict[str, Any]
    """What is no figure: sizes, names, lines that a peer printed."""
    products: tuple[float, ...]
    """GFLOP/s of the same matrix product, measured in turns with the figures: what they are compared with."""
