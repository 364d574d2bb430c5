"""Workers of torchrun killed half-way: does the training end with the same weights, is every picture answered once?

Linux only: who a launcher's workers are is read from /proc.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import BenchmarkError, run_checked
from digitnet.atomic import REMNANT
from digitnet.checkpoint import load_checkpoint
from digitnet.runs import BEST, METRICS
from scale.commands import CPU, torchrun
from scale.shards import Shards, write_shards
from torture.trainings import differences

NAME = "run"
POLL_S = 0.02
PATIENCE_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Killed:
    """How a launch went one of whose workers was killed."""

    code: int
    """The launcher's exit code."""
    again_s: float | None
    """From the kill until other workers had been started; None where none were."""
    said: str
    """The launcher and its workers, on stderr."""


class _Launch:
    """A launcher with its workers."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stream:
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream, start_new_session=True)

    def workers(self) -> set[int]:
        """Return the processes that run digitnet for it now."""
        found = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return {int(pid) for pid in found if _is_worker(Path(f"/proc/{pid}/cmdline"))}

    def wait_until(self, is_so: Callable[[], bool]) -> bool:
        """Wait for something; return False where the launch ends before."""
        ends_s = time.monotonic() + PATIENCE_S
        while not is_so():
            if self._process.poll() is not None:
                return False
            if time.monotonic() > ends_s:
                self.end()
            time.sleep(POLL_S)
        return True

    def end(self) -> None:
        """Leave nothing of it behind."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def ended(self, again_s: float | None) -> Killed:
        """Wait for its end."""
        self.wait_until(lambda: False)
        return Killed(code=self._process.wait(), again_s=again_s, said=self._log.read_text(errors="replace"))


def _is_worker(command_line: Path) -> bool:
    try:
        return b"digitnet" in command_line.read_bytes().split(b"\0")
    except OSError:  # it has just ended
        return False


def launch_and_kill(
    command: Sequence[str], log: Path, is_half_way: Callable[[], bool], numbers: random.Random
) -> Killed:
    """Start a launch, kill one of its workers half-way, and wait for its end.

    Raises:
        BenchmarkError: It ended before it was half-way.
    """
    launched = _Launch(command, log)
    try:
        if not launched.wait_until(is_half_way):
            raise BenchmarkError(f"ended before a worker was killed: {log.read_text(errors='replace')[-300:]}")
        time.sleep(numbers.uniform(0, 0.2))
        workers = launched.workers()
        victim = numbers.choice(sorted(workers))
        os.kill(victim, signal.SIGKILL)
        killed_s = time.monotonic()
        came = launched.wait_until(lambda: bool(launched.workers() - workers))
        return launched.ended(time.monotonic() - killed_s if came else None)
    finally:
        launched.end()


@dataclass(frozen=True, kw_only=True)
class Killing:
    """How workers are killed."""

    processes: int = 2
    """Of a launch."""
    restarts: int = 1
    """How often torchrun is to start them anew; with 0, the command is typed again instead."""
    seed: int = 0
    """Which worker is killed, and when exactly."""

    def numbers(self, trial: int) -> random.Random:
        """Return the random numbers of a trial."""
        return random.Random(f"{self.seed}/{trial}")


def kill_training(folder: Path, trials: int, options: Sequence[str], killing: Killing) -> dict[str, Any]:
    """Train undisturbed, then with a worker killed each time, and compare all that is left of the runs, to the bit."""
    reference = folder / "undisturbed"
    run_checked(_train(reference, options, killing), cwd=folder)
    epochs = _rows(reference / NAME)
    faults, again_s = [], []
    for trial in range(trials):
        output = folder / f"killed-{trial}"
        command = _train(output, options, killing)
        half_way = partial(_is_half_way, output / NAME, epochs)
        killed = launch_and_kill(command, folder / "log", half_way, killing.numbers(trial))
        again_s += [killed.again_s] if killed.again_s is not None else []
        faults += [f"trial {trial}: {fault}" for fault in _end(killed, command, folder, killing)]
        faults += [f"trial {trial}: {fault}" for fault in differences(output / NAME, reference / NAME)]
    tensors = len(load_checkpoint(reference / NAME / BEST).state)
    found = {"trials": trials, "faults": faults, "again_s": again_s, "tensors": tensors, **asdict(killing)}
    return {**found, "epochs": epochs, "options": list(options)}


def _train(output: Path, options: Sequence[str], killing: Killing) -> tuple[str, ...]:
    where = ("--output", str(output), "--name", NAME, "--resume", "auto")
    return torchrun(killing.processes, "train", *options, *CPU, *where, restarts=killing.restarts)


def _is_half_way(run: Path, epochs: int) -> bool:
    return _rows(run) >= epochs // 2


def _rows(run: Path) -> int:
    """Count the epochs that a run has ended."""
    if not (run / METRICS).exists():
        return 0
    with (run / METRICS).open(newline="") as stream:
        return len(list(csv.DictReader(stream)))


def _end(killed: Killed, command: Sequence[str], folder: Path, killing: Killing) -> list[str]:
    """Look at how a launch ended; where torchrun was not to start its workers anew, type the command again."""
    lines = killed.said.strip().splitlines() or ["nothing was said"]
    last = ([line for line in lines if line.startswith("error: ")] or lines)[-1]  # torchrun's own come after it
    if killing.restarts == 0:
        run_checked(command, cwd=folder)
        return [] if killed.code else ["ended with exit code 0, although a worker was killed"]
    faults = [f"ended with exit code {killed.code}: {last}"] if killed.code else []
    return faults if killed.again_s is not None else [*faults, "no worker was started anew"]


def kill_bulk(folder: Path, shards: Path | None, made: Shards, network: str, killing: Killing) -> dict[str, Any]:
    """Predict shards, kill a worker half-way, and compare the answers with what is in the shards.

    Args:
        folder: Where to work.
        shards: A folder of shards; None writes some.
        made: Those to write.
        network: The network to predict with.
        killing: How the worker is killed.
    """
    if shards is None:
        write_shards(made, shards := folder / "shards", 1)
    paths, output = sorted(shards.glob("*.tar")), folder / "answers"
    options = ("--checkpoint", network, *CPU, "--output", str(output))
    command = torchrun(killing.processes, "predict", *options, *map(str, paths), restarts=killing.restarts)
    kept: dict[Path, int] = {}

    def is_half_way() -> bool:
        kept.update({path: path.stat().st_mtime_ns for path in output.glob("part-*.json")})
        return len(kept) >= len(paths) // 2

    started_s = time.monotonic()
    killed = launch_and_kill(command, folder / "log", is_half_way, killing.numbers(0))
    faults = _end(killed, command, folder, killing)
    elapsed_s = time.monotonic() - started_s
    faults += [f"{path.name} was done twice" for path, time_ns in kept.items() if path.stat().st_mtime_ns != time_ns]
    pictures, right, wrong = check_parts(output, paths)
    summary = output / "summary.json"
    counted = json.loads(summary.read_text("utf-8"))["inputs"] if summary.exists() else 0
    if counted != pictures:
        wrong.append(f"the summary counts {counted:,} inputs, the shards hold {pictures:,} pictures")
    found = {"shards": len(paths), "pictures": pictures, "right": right, "elapsed_s": elapsed_s, "network": network}
    return {**found, "faults": [*faults, *wrong], "again_s": killed.again_s, **asdict(killing)}


def check_parts(output: Path, shards: Sequence[Path]) -> tuple[int, int, list[str]]:
    """Compare parts with shards, the n-th with the n-th: each picture answered once, in the shard's order.

    Returns:
        How many pictures the shards hold, how many of them were read as their label says, and what is wrong.
    """
    faults = [f"{path.name} is left over" for path in output.glob(f".*{REMNANT}")]
    pictures = right = 0
    parts = sorted(output.glob("part-*.jsonl"))
    if len(parts) != len(shards):
        return 0, 0, [*faults, f"{len(shards):,} shards have {len(parts):,} parts"]
    for shard, part in zip(shards, parts, strict=True):
        labels = read_labels(shard)
        with part.open(encoding="utf-8") as lines:
            answers = [(answer["path"], answer.get("digit")) for answer in map(json.loads, lines)]
        if [path for path, _ in answers] != [f"{shard}/{name}" for name in labels]:
            faults.append(f"{part.name} does not hold the pictures of {shard.name} in their order, once each")
        pictures += len(labels)
        right += sum(digit == label for (_, digit), label in zip(answers, labels.values(), strict=False))
    return pictures, right, faults


def read_labels(shard: Path) -> dict[str, int]:
    """Read the labels of a shard's pictures, by tarfile, which digitnet reads no shards with; in the shard's order."""
    with tarfile.open(shard, "r:") as archive:
        names = [member.name for member in archive if member.name.endswith(".png")]
        streams = (archive.extractfile(f"{name.removesuffix('.png')}.cls") for name in names)
        return {name: int(stream.read()) for name, stream in zip(names, streams, strict=True) if stream}
