"""``python -m torture``, which ``scripts/torture`` runs: options, the ordeals in their order, JSON and Markdown."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from digitnet.atomic import write_atomically
from torture.commands import commands
from torture.concurrency import concurrency
from torture.files import checkpoints, idx_files, pickles, pictures, toml_files
from torture.kills import kills
from torture.leaks import predictions
from torture.outcome import Outcome
from torture.saves import saves

HEADING = "| ordeal | trials | failures | figures | time |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Ordeal:
    """An ordeal, and how often it is tried."""

    attempt: Callable[[int, int], Outcome]
    """From trials and a seed."""
    full: int
    quick: int


ORDEALS = {
    "kills": Ordeal(kills, 100, 2),
    "saves": Ordeal(saves, 10_000, 5),
    "pictures": Ordeal(pictures, 10_000, 200),
    "checkpoints": Ordeal(checkpoints, 10_000, 200),
    "idx-files": Ordeal(idx_files, 10_000, 200),
    "toml-files": Ordeal(toml_files, 10_000, 200),
    "pickles": Ordeal(pickles, 1_000, 100),
    "commands": Ordeal(commands, 10_000, 200),
    "predictions": Ordeal(predictions, 1_000_000, 20_000),
    "concurrency": Ordeal(concurrency, 500, 25),
}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/torture",
        description="Try what digitnet withstands on this machine: a table in Markdown on stdout. "
        "The exit code is 1 where it did not.",
    )
    parser.add_argument("--only", action="append", choices=list(ORDEALS), help="this ordeal alone; repeatable")
    parser.add_argument("--quick", action="store_true", help="fewer trials of each: minutes in all")
    parser.add_argument("--trials", type=_count, metavar="N", help="so many trials of each ordeal")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other trials; left out: 0")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes here, all failures included")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1, not {text!r}")
    return int(text)


def undergo(name: str, ordeal: Ordeal, trials: int, seed: int) -> Outcome:
    """Let one ordeal be; where it breaks off, that is its failure, and the others go on."""
    started = time.monotonic()
    try:
        return ordeal.attempt(trials, seed)
    except Exception as error:  # whatever it is, the others have their turn
        traceback.print_exc()
        failure = f"the ordeal broke off: {type(error).__name__}: {error}"
        return Outcome(name=name, trials=0, failures=(failure,), elapsed_s=time.monotonic() - started)


def run(options: argparse.Namespace) -> list[Outcome]:
    """Let the ordeals be that are asked for, and say what came of each as it ends."""
    outcomes: list[Outcome] = []
    for name, ordeal in ORDEALS.items():
        if options.only and name not in options.only:
            continue
        trials = options.trials or (ordeal.quick if options.quick else ordeal.full)
        _say(f"torture: {name}, {trials:,} trials")
        outcomes.append(undergo(name, ordeal, trials, options.seed))
        _say(row(outcomes[-1]))
        if options.json:
            document = {"seed": options.seed, "outcomes": [asdict(outcome) for outcome in outcomes]}
            write_atomically(options.json, json.dumps(document, indent=2).encode())
    return outcomes


def row(outcome: Outcome) -> str:
    """Put an outcome into a row of the table."""
    figures = ", ".join(f"{name} {value:,.6g}" for name, value in outcome.figures.items())
    failures = f"{len(outcome.failures):,}" if outcome.failures or outcome.passed else "nothing was tried"
    return f"| {outcome.name} | {outcome.trials:,} | {failures} | {figures} | {outcome.elapsed_s:,.1f} s |"


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Put all outcomes into a table, with the failures below it."""
    lines = [HEADING, *map(row, outcomes)]
    for outcome in outcomes:
        if outcome.failures:
            lines += ["", f"Failures of {outcome.name}:", *(f"- {failure}" for failure in outcome.failures)]
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what is asked for; return 0, 1 where something was not withstood, and 130 when interrupted."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        outcomes = run(options)
    except KeyboardInterrupt:
        _say("error: interrupted")
        return 130
    sys.stdout.write(markdown(outcomes) + "\n")
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
