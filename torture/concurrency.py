"""Several processes at one file, one cache and one folder of runs: nobody sees half of anything."""

from __future__ import annotations

import json
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from digitnet.checkpoint import load_checkpoint, save_checkpoint
from digitnet.runs import BEST, CONFIG, LAST, METRICS, find_checkpoint
from torture import peers
from torture.outcome import Outcome

COUNT = 4  # processes at once
ROUND = 50  # replacements of the checkpoint for each round of downloads and of runs
PATIENCE_S = 300.0
TRAIN = "train --model mlp --preset fast --hidden-sizes 8 --dataset strokes --train-size 90 --steps 2 --device cpu"

# One process imports PyTorch, once, and all others are forks of it: they start together.
PROCESSES = get_context("forkserver")


@dataclass
class Tally:
    """What was found so far."""

    failures: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, count: float) -> None:
        """Add to a figure."""
        self.figures[name] = self.figures.get(name, 0) + count


def concurrency(trials: int, seed: int) -> Outcome:
    """Replace a checkpoint ``trials`` times before readers; download and train several at once now and then."""
    started = time.monotonic()
    PROCESSES.set_forkserver_preload(["torture.peers"])
    chance = random.Random(seed)
    tally = Tally()
    with _folder() as folder:
        replace_before_readers(Path(folder), trials, tally)
    for _ in range(max(1, trials // ROUND)):
        for kill_after_s in (None, chance.uniform(0, 5 * peers.SLOW_S / 2)):
            with _folder() as folder:
                download_at_once(Path(folder), kill_after_s, tally)
        for name in (None, "same"):
            with _folder() as folder:
                train_at_once(Path(folder), name, tally)
    elapsed_s = time.monotonic() - started
    return Outcome(
        name="concurrency",
        trials=trials,
        failures=tuple(tally.failures),
        figures=tally.figures,
        elapsed_s=elapsed_s,
    )


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="digitnet-torture-")


def replace_before_readers(folder: Path, versions: int, tally: Tally) -> None:
    """Write a checkpoint version after version, and let others read it all the while."""
    source = load_checkpoint(find_checkpoint("pretrained-mlp").path)
    model, path = source.build(), folder / BEST

    def write(number: int) -> None:
        for tensor in model.state_dict().values():
            tensor.fill_(number)
        save_checkpoint(path, source.config, replace(source.record, step=number), source.calibration, model)

    with torch.no_grad():
        write(1)
        readers = start(folder, COUNT // 2, peers.read_until, path, versions + 1)
        for number in range(2, versions + 2):
            write(number)
    await_end(readers, tally)
    for found in reports(folder):
        tally.failures += found["faults"]
        tally.add("reads", found["reads"])
        tally.add("versions_seen", found["versions"])
    if left := [entry.name for entry in folder.glob(".*")]:
        tally.failures.append(f"left beside the checkpoint: {left}")


def download_at_once(folder: Path, kill_after_s: float | None, tally: Tally) -> None:
    """Download one data set in several processes, and kill the first in the middle of it if so asked."""
    processes = start(folder, COUNT, peers.download)
    killed = None
    if kill_after_s is not None:
        _await(lambda: any(folder.glob("downloading-*")), "a download")
        first = int(next(folder.glob("downloading-*")).name.split("-")[1])
        time.sleep(kill_after_s)
        killed = next(process for process in processes if process.pid == first)
        killed.kill()
        killed.join()
        tally.add("downloads_killed", killed.exitcode == -signal.SIGKILL)
    await_end([process for process in processes if process is not killed], tally)
    found = [report["fingerprint"] for report in reports(folder)]
    if found.count(peers.expected("train")) < COUNT - (killed is not None):
        tally.failures.append(f"of {COUNT} processes that download at once, these got the set: {found}")
    downloads = len(list(folder.glob("downloading-*")))
    if downloads > 1 + (killed is not None):
        tally.failures.append(f"{downloads} processes downloaded the set, killed: {killed is not None}")
    if left := [entry.name for entry in (folder / "cache").iterdir() if entry.name not in ("mnist", "mnist.lock")]:
        tally.failures.append(f"left in the cache: {left}")
    tally.add("downloads", downloads)
    tally.add("sets_loaded", len(found))


def train_at_once(folder: Path, name: str | None, tally: Tally) -> None:
    """Train in several processes in one folder of runs, under one name or under none."""
    named = ["--name", name] if name else []
    processes = start(folder, COUNT, peers.command, [*TRAIN.split(), "--output", "runs", *named])
    _await(lambda: not any(process.is_alive() for process in processes), "runs")
    codes = sorted(process.exitcode or 0 for process in processes)
    said = [path.read_text() for path in folder.glob("*.err")]
    if codes != ([0, *[2] * (COUNT - 1)] if name else [0] * COUNT):
        tally.failures.append(f"runs at once, --name {name}: they ended with {codes}, and said {said}")
    if name and sum("exists already; choose another --name" in text for text in said) != COUNT - 1:
        tally.failures.append(f"runs at once, --name {name}: no plain refusal in {said}")
    made = sorted((folder / "runs").iterdir())
    if len(made) != codes.count(0):
        tally.failures.append(f"runs at once, --name {name}: {len(made)} folders of {codes.count(0)} runs")
    for run in made:
        for file in (BEST, LAST):
            load_checkpoint(run / file)
        if not {CONFIG, METRICS} <= {path.name for path in run.iterdir()}:
            tally.failures.append(f"{run.name} holds {sorted(path.name for path in run.iterdir())} alone")
    tally.add("runs", codes.count(0))
    tally.add("runs_refused", codes.count(2))


def start(folder: Path, count: int, work: Callable[..., None], *arguments: Any) -> list[BaseProcess]:
    """Start processes that do the same work in a folder, all at one moment."""
    processes: list[BaseProcess] = [PROCESSES.Process(target=work, args=(folder, *arguments)) for _ in range(count)]
    for process in processes:
        process.start()
    _await(lambda: len(list(folder.glob("ready-*"))) == count, "processes to start")
    (folder / "go").touch()
    return processes


def await_end(processes: list[BaseProcess], tally: Tally) -> None:
    """Wait until processes end, and count those as failures that end otherwise than well."""
    _await(lambda: not any(process.is_alive() for process in processes), "processes to end")
    tally.failures += [f"a process ended with {process.exitcode}" for process in processes if process.exitcode]


def reports(folder: Path) -> Iterator[dict[str, Any]]:
    """Read what the processes found."""
    for path in folder.glob("found-*.json"):
        yield json.loads(path.read_text())


def _await(condition: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"waited for {what} for {PATIENCE_S:g} s")
        time.sleep(0.005)
