"""Small trainings to be hindered: their command lines, how they are started, and whether two came to the same.

Most are forked from a process that has imported all that training uses, for the import takes longer than the training:
what hinders them then meets digitnet's own work. A real command is as a person starts it, Python's start included.
"""

from __future__ import annotations

import atexit
import csv
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, get_args

from PIL import Image

from digitnet.atomic import REMNANT
from digitnet.checkpoint import Checkpoint, load_checkpoint
from digitnet.config import ModelKind, OptimizerName
from digitnet.runs import BEST, CONFIG, CURVES, LAST, METRICS
from digitnet.snapshots import Snapshot, find_states, load_snapshot
from digitnet.state import hash_tensors

NAME = "run"
# All that a state has to hold: dropout and augmentation draw numbers, the mean is beside the weights.
COMMON = (
    "--dataset strokes --train-size 90 --nondigits 20 --augment all --dropout 0.2 --batch-norm --weight-average 0.9 "
    "--max-grad-norm 2 --label-smoothing 0.1 --epochs 5 --batch-size 16 --save-every 2 --device cpu"
)
NETWORKS: dict[ModelKind, str] = {
    "mlp": "--model mlp --hidden-sizes 16,8",
    "cnn": "--model cnn --channels 4 --pool-size 4 --hidden-sizes 8",
}
RECIPES = [f"{NETWORKS[kind]} --optimizer {name}" for name in get_args(OptimizerName) for kind in get_args(ModelKind)]
TIMES = ("images_per_s", "elapsed_s")  # what differs each time
PATIENCE_S = 300.0

PRELOADED = [
    "torture.refusals", "digitnet.cli", "digitnet.training", "digitnet.data.strokes", "digitnet.data.nondigits",
    "digitnet.explain.training.curves", "digitnet.explain.panels", "digitnet.console.networks", "digitnet.reports",
    "matplotlib.backends.backend_agg", "filelock", "rich.progress",
]  # fmt: skip
_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(PRELOADED)


def arguments(recipe: str, output: Path) -> list[str]:
    """Return what is typed to begin a run, and likewise to go on with it."""
    line = f"train {recipe} {COMMON} --resume auto --name {NAME}"
    return [*line.split(), "--output", str(output)]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    """Its exit code, as a shell says it: 137 for one that was killed."""
    said: str
    """On stderr."""
    elapsed_s: float
    hit: bool
    """Whether it was still there when the signal came."""


def run(line: Sequence[str], log: Path, *, real: bool = False, signal: int = 0, after_s: float = 0.0) -> Ended:
    """Run a command, send it a signal after a while if it is still there, and wait for its end."""
    started = time.monotonic()
    process = _Real(line, log) if real else _Forked(line, log)
    hit = False
    if signal and not process.ended_within(after_s):
        hit = process.send(signal)
    if not process.ended_within(PATIENCE_S):
        process.send(9)
        process.ended_within(PATIENCE_S)
    elapsed_s = time.monotonic() - started
    return Ended(code=process.code, said=log.read_text(errors="replace"), elapsed_s=elapsed_s, hit=hit)


class _Forked:
    """A command in a process forked from one that has imported all."""

    def __init__(self, line: Sequence[str], log: Path) -> None:
        log.touch()
        self._process = forked(_command, list(line), str(log))

    def ended_within(self, seconds: float) -> bool:
        self._process.join(seconds)
        return self._process.exitcode is not None

    def send(self, signal: int) -> bool:
        return _send(self._process.pid, signal)

    @property
    def code(self) -> int:
        return _shell_code(self._process.exitcode)


class _Real:
    """A command as a person types it."""

    def __init__(self, line: Sequence[str], log: Path) -> None:
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "digitnet", *line], stdout=subprocess.DEVNULL, stderr=stream
            )

    def ended_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def send(self, signal: int) -> bool:
        return _send(self._process.pid, signal)

    @property
    def code(self) -> int:
        return _shell_code(self._process.returncode)


def _send(process: int | None, signal: int) -> bool:
    try:
        os.kill(process or 0, signal)
    except ProcessLookupError:  # it has just ended
        return False
    return True


def _shell_code(code: int | None) -> int:
    return 255 if code is None else 128 - code if code < 0 else code


def forked(function: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Call a function of a module in a process forked from one that has imported all."""
    process: ForkServerProcess = _forking.Process(target=function, args=arguments)
    process.start()
    return process


def redirect(log: str) -> None:
    """Let stdout go nowhere and stderr into a file, in a process of its own."""
    atexit._clear()  # which is the business of the process that we are forked from
    for path, descriptor in ((os.devnull, 1), (log, 2)):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", closefd=False) for descriptor in (1, 2))


def _command(line: list[str], log: str) -> None:
    from digitnet.cli import main

    redirect(log)
    sys.argv = ["digitnet", *line]
    main()


def differences(folder: Path, reference: Path) -> Iterator[str]:
    """Name what of a run that has ended is not as in the reference, or not whole: every bit but times."""
    yield from (f"{path.name} is left over" for path in folder.glob(f".*{REMNANT}"))
    for name in (BEST, LAST):
        yield from _differing(name, folder / name, reference / name, load_checkpoint, _checkpoint_parts)
    states, expected = find_states(folder), find_states(reference)
    yield from _differing("the last state", states[-1], expected[-1], load_snapshot, _snapshot_parts)
    for path in states[:-1]:
        load_snapshot(path)
    yield from _differing(METRICS, folder / METRICS, reference / METRICS, _read_rows, enumerate)
    if (folder / CONFIG).read_bytes() != (reference / CONFIG).read_bytes():
        yield f"{CONFIG} differs"
    with Image.open(folder / CURVES) as image:
        image.load()


def _differing(
    name: str, path: Path, reference: Path, load: Callable[[Path], Any], parts: Callable[[Any], Any]
) -> Iterator[str]:
    found, expected = dict(parts(load(path))), dict(parts(load(reference)))
    yield from (
        f"{name}: {part} differs" for part in expected.keys() | found.keys() if found.get(part) != expected.get(part)
    )


def _checkpoint_parts(checkpoint: Checkpoint) -> dict[str, Any]:
    tensors = {name: hash_tensors({name: tensor}) for name, tensor in checkpoint.state.items()}
    record = replace(checkpoint.record, elapsed_s=0.0)
    return tensors | {"config": checkpoint.config, "record": record, "calibration": checkpoint.calibration}


def _snapshot_parts(snapshot: Snapshot) -> dict[str, Any]:
    tensors = {name: hash_tensors({name: tensor}) for name, tensor in snapshot.state.tensors.items()}
    position = replace(snapshot.state.position, elapsed_s=0.0)
    journal = snapshot.journal
    rows = [_timeless(asdict(row)) for row in journal.epochs] + [_timeless(asdict(row)) for row in journal.steps]
    return tensors | {"config": snapshot.config, "origin": snapshot.origin, "position": position, "journal": rows}


def _read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return [_timeless(row) for row in csv.DictReader(stream)]


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in TIMES}
