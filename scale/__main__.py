"""``python -m scale``, which ``scripts/scale`` runs: its commands and their options."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.measure import BenchmarkError
from digitnet.errors import DigitnetError, UsageError
from scale.cluster import Plan
from scale.document import PAGE, RESULTS, measured_rate, renewed
from scale.measure import MEASURED, Sizes, measure_bulk, measure_training
from scale.options import KILLED, parse
from scale.results import add_results, read_results
from scale.shards import Shards, write_shards
from scale.simulation import FAILURES_H, simulate_failures, table, to_dict


def _shards(options: argparse.Namespace) -> int:
    shards = Shards(count=options.count, per_shard=options.per_shard, seed=options.seed)
    written = write_shards(shards, options.folder, options.workers)
    rate = f"{written.digits / written.elapsed_s:,.0f} a second"
    sys.stdout.write(f"{written.shards:,} of {shards.number:,} shards written: {written.digits:,} digits, {rate}\n")
    return 0


def _simulate(options: argparse.Namespace) -> int:
    given = {field.name: getattr(options, field.name) for field in fields(Plan) if hasattr(options, field.name)}
    given["rate"] = options.rate or measured_rate(read_results(RESULTS)) or Plan.rate
    outcomes = simulate_failures(Plan(**given), options.failures or FAILURES_H, options.seeds)
    rows = [[to_dict(outcome) for outcome in row] for row in outcomes]
    add_results(options.json, "simulation", rows)
    sys.stdout.write(table(rows) + "\n")
    return 0


def _measure(options: argparse.Namespace) -> int:
    from scale.parts import measure_parts

    if options.long <= options.short:
        raise UsageError("--long takes more pictures than --short")
    sizes = Sizes(**{field.name: getattr(options, field.name) for field in fields(Sizes)})
    measures = {"training": measure_training, "bulk": measure_bulk, "parts": measure_parts}
    for name in options.only or MEASURED:
        with tempfile.TemporaryDirectory(prefix="digitnet-scale-") as place:
            found = {"machine": _machine(), **measures[name](sizes, Path(place))}
        add_results(options.json, name, found)
        _print({name: found})
    return 0


def _kill(options: argparse.Namespace) -> int:
    from scale.kills import Killing, kill_bulk, kill_training

    killing = Killing(processes=options.processes, restarts=options.max_restarts, seed=options.seed)
    shards = Shards(count=options.count, per_shard=options.per_shard, seed=0)
    given = options.shards and options.shards.resolve()
    faults = 0
    for name in options.only or KILLED:
        machine = _machine()
        with tempfile.TemporaryDirectory(prefix="digitnet-scale-") as place:
            found = (
                kill_training(Path(place), options.trials, options.train.split(), killing)
                if name == "training"
                else kill_bulk(Path(place), given, shards, options.network, killing)
            )
        add_results(options.json, f"killed {name}", {"machine": machine, **found})
        _print({name: found})
        faults += len(found["faults"])
    return 1 if faults else 0


def _machine() -> dict[str, Any]:
    """Describe the machine, before anything of ours makes it busy."""
    found = describe()
    return {name: found[name] for name in ("processor", "cores", "memory_mb", "busy", "python", "commit")}


def _docs(options: argparse.Namespace) -> int:
    PAGE.write_text(renewed(PAGE.read_text("utf-8"), read_results(options.json)), "utf-8")
    return 0


def _print(found: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 1 where something is not as it should be, and 130 when interrupted."""
    commands = {"shards": _shards, "simulate": _simulate, "measure": _measure, "kill": _kill, "docs": _docs}
    options = parse(sys.argv[1:] if arguments is None else arguments, commands, str(__doc__))
    try:
        return int(options.command(options))
    except DigitnetError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except (OSError, BenchmarkError) as error:  # a full disk, a folder that cannot be written
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
