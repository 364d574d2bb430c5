"""``python -m scale``, which ``scripts/scale`` runs: its commands and their options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from digitnet.errors import DigitnetError
from scale.cluster import NEVER, Plan
from scale.results import add_results
from scale.simulation import FAILURES_H, SEEDS, simulate_failures, table, to_dict


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; the command to run is ``command``, which takes the options."""
    parser = argparse.ArgumentParser(prog="scripts/scale", description=__doc__.partition(":")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_shards(commands)
    _add_simulate(commands)
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1, not {text!r}")
    return int(text)


def _add_shards(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("shards", help="write tar shards of digits drawn from strokes")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to; shards that are there are kept")
    parser.add_argument("--count", type=_count, default=1_000_000, metavar="N", help="digits; left out: %(default)s")
    parser.add_argument("--per-shard", type=_count, default=10_000, metavar="N", help="left out: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other digits; left out: 0")
    parser.add_argument("--workers", type=_count, default=os.cpu_count(), metavar="N", help="left out: one a core")
    parser.set_defaults(command=_shards)


def _shards(options: argparse.Namespace) -> int:
    from scale.shards import Shards, write_shards

    shards = Shards(count=options.count, per_shard=options.per_shard, seed=options.seed)
    written = write_shards(shards, options.folder, options.workers)
    rate = f"{written.digits / written.elapsed_s:,.0f} a second"
    sys.stdout.write(f"{written.shards:,} shards of {shards.number:,} written: {written.digits:,} digits, {rate}\n")
    return 0


def _add_simulate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("simulate", help="simulate a bulk prediction on many machines that fail")
    add, plan = parser.add_argument, Plan()
    add("--shards", type=_count, default=plan.shards, metavar="N", help="left out: %(default)s")
    add("--per-shard", type=_count, default=plan.per_shard, metavar="N", help="pictures in each; left out: %(default)s")
    add("--nodes", type=_count, default=plan.nodes, metavar="N", help="left out: %(default)s")
    add("--workers", type=_count, default=plan.workers, metavar="N", help="of each node; left out: %(default)s")
    add("--rate", type=_positive, default=plan.rate, help="pictures a second of a worker; left out: %(default)s")
    spread = "standard deviation of the logarithm of the %s; left out: %%(default)s"
    add("--worker-spread", type=_amount, default=plan.worker_spread, help=spread % "workers' speeds", metavar="SIGMA")
    add("--shard-spread", type=_amount, default=plan.shard_spread, help=spread % "shards' work", metavar="SIGMA")
    add(
        "--restart-s", type=_amount, default=plan.restart_s, metavar="S", help="to start workers; left out: %(default)s"
    )
    add(
        "--repair-s",
        type=_amount,
        default=plan.repair_s,
        metavar="S",
        help="to bring a node back; left out: %(default)s",
    )
    cut = "share of node failures that only cut it off, so that it finishes what it has in hand; left out: %(default)s"
    add("--partitions", type=_amount, default=plan.partitions, metavar="SHARE", help=cut)
    rates = "mean hours between failures of a worker, and of a node, such as 24:72; repeatable"
    add("--failures", type=_failures, action="append", metavar="WORKER:NODE", help=rates)
    add("--seed", type=int, default=0, metavar="N", help="other failures; left out: 0")
    add(
        "--seeds",
        type=_count,
        default=SEEDS,
        metavar="N",
        help="how many seeds to take means of; left out: %(default)s",
    )
    add("--json", type=Path, metavar="FILE", help="write the outcomes here, beside what else is in it")
    parser.set_defaults(command=_simulate)


def _amount(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < NEVER:
        raise argparse.ArgumentTypeError(f"a number from 0, not {text!r}")
    return number


def _positive(text: str) -> float:
    if not _amount(text):
        raise argparse.ArgumentTypeError(f"a number above 0, not {text!r}")
    return float(text)


def _failures(text: str) -> tuple[float, float]:
    worker, _, node = text.partition(":")
    worker_h, node_h = (NEVER if part == "never" else _positive(part) for part in (worker, node))
    return worker_h, node_h


def _simulate(options: argparse.Namespace) -> int:
    given = {field.name: getattr(options, field.name) for field in fields(Plan) if hasattr(options, field.name)}
    outcomes = simulate_failures(Plan(**given), options.failures or FAILURES_H, options.seeds)
    rows = [[to_dict(outcome) for outcome in row] for row in outcomes]
    add_results(options.json, "simulation", rows)
    sys.stdout.write(table(rows) + "\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 1 where something is not as it should be, and 130 when interrupted."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return int(options.command(options))
    except DigitnetError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except OSError as error:  # a full disk, a folder that cannot be written
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
