"""Trainings killed at random moments and gone on with: is what comes of each what an undisturbed one gives, to the bit?

A trial is one command line, ``digitnet train ... --resume auto``, typed until it ends: at random moments it is killed
with SIGKILL once to three times, and sometimes asked to end by SIGTERM or SIGINT. Half of the moments are anywhere in
its life, start and end included, and half of them between its first step and its last, where it saves all the time.
One trial in ten starts real commands, the others fork them; see ``trainings.py``.
"""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from digitnet.atomic import REMNANT
from digitnet.checkpoint import load_checkpoint
from digitnet.errors import DigitnetError
from digitnet.runs import BEST, CONFIG, LAST
from digitnet.snapshots import find_states, load_snapshot
from torture.outcome import Outcome
from torture.trainings import NAME, RECIPES, Ended, arguments, differences, forked, run

REAL_EVERY = 10
CODES = {signal.SIGKILL: 137, signal.SIGTERM: 143, signal.SIGINT: 130}


def kills(trials: int, seed: int) -> Outcome:
    """Kill trainings, go on with them, and compare each with one that nobody disturbed."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="digitnet-torture-") as place:
        ordeal = _Ordeal(Path(place))
        failures = [failure for trial in range(trials) for failure in ordeal.attempt(trial, seed)]
    figures = dict(sorted((name, float(count)) for name, count in ordeal.counts.items()))
    return Outcome(
        name="kills",
        trials=trials,
        failures=tuple(failures),
        figures=figures,
        elapsed_s=time.monotonic() - started,
    )


@dataclass
class _Ordeal:
    place: Path
    counts: Counter[str] = field(default_factory=Counter)
    """Of signals that met their process: what they found."""
    lives: dict[tuple[str, bool], tuple[float, float, float]] = field(default_factory=dict)
    """When, in seconds, an undisturbed run of a recipe, as a real command or not, trains, has trained, and ends."""

    def attempt(self, trial: int, seed: int) -> list[str]:
        """Make one trial; return what went wrong, a line each."""
        numbers = random.Random(f"{seed}/{trial}")
        recipe, real = RECIPES[trial % len(RECIPES)], trial % REAL_EVERY == REAL_EVERY - 1
        label = f"trial {trial} of seed {seed}{', real commands' if real else ''} ({recipe})"
        try:
            reference = self._reference(recipe, real)
            faults = self._hinder(recipe, real, numbers)
            faults += differences(self.place / "hindered" / NAME, reference)
        except (DigitnetError, OSError, IndexError) as error:  # a file that is not there, or not whole
            faults = [f"{type(error).__name__}: {error}"]
        return [f"{label}: {fault}" for fault in faults]

    def _reference(self, recipe: str, real: bool) -> Path:
        """Make the undisturbed run of a recipe, where there is none yet, and take its time; return its folder."""
        output = self.place / f"reference-{RECIPES.index(recipe)}-{real}"
        if (recipe, real) not in self.lives:
            forked(_nothing).join()  # by then all is imported, and no more of the time that is taken
            started = time.time()
            ended = run(arguments(recipe, output), self.place / "log", real=real)
            if ended.code != 0:
                raise OSError(f"undisturbed, it ended with exit code {ended.code}: {ended.said}")
            written = (output / NAME / CONFIG, find_states(output / NAME)[-1])
            first_s, last_s = (path.stat().st_mtime - started for path in written)
            self.lives[recipe, real] = (first_s, last_s, ended.elapsed_s)
        return output / NAME

    def _hinder(self, recipe: str, real: bool, numbers: random.Random) -> list[str]:
        """Hinder a run until at least one SIGKILL has met it, and let it come to its end."""
        faults: list[str] = []
        output, killed = self.place / "hindered", False
        while not killed:
            shutil.rmtree(output, ignore_errors=True)
            code = 255
            for number in _signals(numbers):
                first_s, last_s, end_s = self.lives[recipe, real]
                moment_s = numbers.uniform(0, end_s) if numbers.random() < 0.5 else numbers.uniform(first_s, last_s)
                ended = run(arguments(recipe, output), self.place / "log", real=real, signal=number, after_s=moment_s)
                killed |= ended.code == CODES[signal.SIGKILL]
                faults += self._judge(number, ended, output / NAME)
                if (code := ended.code) == 0:
                    break
            if code == 0 and not killed:  # the machine is faster than it was
                first_s, last_s, end_s = (s / 2 for s in self.lives[recipe, real])
                self.lives[recipe, real] = (first_s, last_s, end_s)
        if code != 0:
            last = run(arguments(recipe, output), self.place / "log", real=real)
            if last.code != 0:
                faults.append(f"gone on with, it ended with exit code {last.code}: {last.said}")
        return faults

    def _judge(self, number: int, ended: Ended, folder: Path) -> list[str]:
        """Look at what a signal left: an exit code, and files that are whole."""
        name = signal.Signals(number).name
        if not ended.hit or ended.code == 0:
            return [] if ended.code == 0 else [f"before {name}, it ended with exit code {ended.code}: {ended.said}"]
        self.counts[name] += 1
        self.counts[_where(folder)] += 1
        for path in [*(folder / name for name in (BEST, LAST) if (folder / name).exists())]:
            load_checkpoint(path)
        for path in find_states(folder) if folder.exists() else ():
            load_snapshot(path)
        if ended.code != CODES[signal.Signals(number)]:
            return [f"{name} ended it with exit code {ended.code}: {ended.said}"]
        remnants = list(folder.glob(f".*{REMNANT}")) if number != signal.SIGKILL else []
        return [f"{name} left {path.name}" for path in remnants]


def _signals(numbers: random.Random) -> list[int]:
    chosen: list[int] = [signal.SIGKILL] * numbers.choice((1, 1, 2, 3))
    if numbers.random() < 0.4:
        chosen.insert(numbers.randint(0, len(chosen)), numbers.choice((signal.SIGTERM, signal.SIGINT)))
    return chosen


def _where(folder: Path) -> str:
    """Say where in its life a run was, by what is in its folder."""
    if folder.exists() and list(folder.glob(f".*{REMNANT}")):
        return "while_a_file_was_written"
    states = find_states(folder) if folder.exists() else []
    if not states:
        return "before_the_first_state"
    return "after_the_last_step" if load_snapshot(states[-1]).state.position.stop else "between"


def _nothing() -> None:
    """Do nothing, in a process of its own."""
