"""The machine: what it is, whether it is busy, and how fast it multiplies matrices between the things we time."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import BenchmarkError

BUSY = 0.05  # of all cores' time taken by others, from which on figures are marked
NOISE = 0.15  # of the median: how far apart the matrix products of a part may lie before its figures are marked

STAT = Path("/proc/stat")  # Linux: what each core has done since it was started


class Probe:
    """A process with torch in it that sleeps, and multiplies matrices when it is asked to.

    Torch is in a process of its own so that it is not in this one: ``measure.py`` says why.
    """

    def __init__(self, device: str) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", "probe", json.dumps({"device": device})]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.machine: dict[str, Any] = self._answer()
        """Hardware and versions as torch sees them."""

    def product(self) -> float:
        """Return the GFLOP/s of a matrix product on the CPU in fp32, now."""
        assert self._process.stdin is not None  # a pipe, by how it was started
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer())

    def used_s(self) -> float:
        """Return how long the processor has worked for it so far, in seconds."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None  # likewise
        if line := self._process.stdout.readline():
            return json.loads(line)
        self._process.wait()
        raise BenchmarkError("")  # it has said on stderr what went wrong


class Watch:
    """Counts what others take of the processor while we measure, from the system's own count and ours.

    A matrix product now and then shows how fast the machine is just then, and not who else was there in between.
    """

    def __init__(self, probe: Probe, stat: Path = STAT) -> None:
        self._probe, self._stat = probe, stat
        self._before = self._count()

    def others(self) -> float | None:
        """Return the share of all cores' time since the start that was not ours, at least 0.

        None where it cannot be known: on a system that does not count, and where we may not use all of its cores, for
        then others may work without disturbing us.
        """
        after = self._count()
        if self._before is None or after is None:
            return None
        worked, total, ours = (new - old for new, old in zip(after, self._before, strict=True))
        return max(0.0, (worked - ours) / total) if total else 0.0

    def _count(self) -> tuple[float, float, float] | None:
        """Return seconds of all cores together: worked for anyone, gone by, and worked for us."""
        ticks = _ticks(self._stat)
        if ticks is None or cores() != os.cpu_count():
            return None
        idle, total = (count / os.sysconf("SC_CLK_TCK") for count in ticks)
        return total - idle, total, sum(os.times()[:4]) + self._probe.used_s()  # children that have ended are in it


def describe() -> dict[str, Any]:
    """Describe what can be known without torch: processor, cores, memory, versions and load."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": _processor(),
        "cores": cores(),
        "memory_mb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": _commit(),
        "load_average_1min": os.getloadavg()[0],
        "busy": busy(),
    }


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy(seconds: float = 1.0, stat: Path = STAT) -> float:
    """Return the share of all cores' time that others use, while this process sleeps for ``seconds``.

    Where the system has no such counter: the load average of the last minute, which lags behind.
    """
    before = _ticks(stat)
    if before is None:
        return min(1.0, os.getloadavg()[0] / cores())
    time.sleep(seconds)
    idle, total = (after - earlier for after, earlier in zip(_ticks(stat) or before, before, strict=True))
    return 1 - idle / total if total else 0.0


def _ticks(stat: Path) -> tuple[int, int] | None:
    """Read the idle and all ticks of all cores since they were started; None where there is no such file."""
    try:
        fields = [int(field) for field in stat.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return fields[3] + fields[4], sum(fields)  # idle and waiting for a disk


def spread(products: Sequence[float]) -> float:
    """Return how far apart the slowest and the fastest matrix product lie, as a share of the median one."""
    return (max(products) - min(products)) / statistics.median(products) if products else 0.0


def is_noisy(products: Sequence[float]) -> bool:
    """Say whether what was measured between these matrix products is to be marked."""
    return spread(products) > NOISE


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Name the commit that is measured, with -dirty after it where files were changed; None outside of git."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
