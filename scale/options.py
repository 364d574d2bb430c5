"""The options of ``scripts/scale``, a function for each of its commands."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from scale.cluster import NEVER, Plan
from scale.document import RESULTS
from scale.measure import MEASURED, Sizes
from scale.simulation import SEEDS

Command = Callable[[argparse.Namespace], int]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

KILLED = ("training", "bulk")
TRAIN = (
    "--preset fast --dataset strokes --train-size 10000 --epochs 6 --save-every 10 --augment all --dropout 0.2 "
    "--weight-average 0.9"
)


def parse(arguments: Sequence[str], commands: Mapping[str, Command], description: str) -> argparse.Namespace:
    """Read the command line; which of the commands is to run is ``command``, which takes the options."""
    parser = argparse.ArgumentParser(prog="scripts/scale", description=description)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_shards, _add_simulate, _add_measure, _add_kill, _add_docs):
        name = add.__name__.removeprefix("_add_")
        add(subparsers).set_defaults(command=commands[name])
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1, not {text!r}")
    return int(text)


def _add_shards(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser("shards", help="write tar shards of digits drawn from strokes")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to; shards that are there are kept")
    parser.add_argument("--count", type=_count, default=1_000_000, metavar="N", help="digits; left out: %(default)s")
    parser.add_argument("--per-shard", type=_count, default=10_000, metavar="N", help="left out: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other digits; left out: 0")
    parser.add_argument("--workers", type=_count, default=os.cpu_count(), metavar="N", help="left out: one a core")
    return parser


def _add_simulate(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser("simulate", help="simulate a bulk prediction on many machines that fail")
    add, plan = parser.add_argument, Plan()
    add("--shards", type=_count, default=plan.shards, metavar="N", help="left out: %(default)s")
    add("--per-shard", type=_count, default=plan.per_shard, metavar="N", help="pictures in each; left out: %(default)s")
    add("--nodes", type=_count, default=plan.nodes, metavar="N", help="left out: %(default)s")
    add("--workers", type=_count, default=plan.workers, metavar="N", help="of each node; left out: %(default)s")
    measured = "pictures a second of a worker; left out: what docs/scale.json says of a core"
    add("--rate", type=_positive, metavar="N", help=measured)
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
    return _with_json(parser)


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


def _add_measure(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "measure", help="measure training and prediction in one process and two, and their parts"
    )
    add, sizes = parser.add_argument, Sizes()
    add("--only", action="append", choices=MEASURED, help="this alone; repeatable")
    add("--runs", type=_count, default=sizes.runs, metavar="N", help="repeats of each; left out: %(default)s")
    add("--presets", type=_names, default=sizes.presets, metavar="NAMES", help="to train; left out: fast,standard")
    add("--train-size", type=_count, default=sizes.train_size, metavar="N", help="images; left out: %(default)s")
    add("--epochs", type=_count, default=sizes.epochs, metavar="N", help="the first counts not; left out: %(default)s")
    add(
        "--networks",
        type=_names,
        default=sizes.networks,
        metavar="REFS",
        help="to predict with; left out: both shipped",
    )
    add("--short", type=_count, default=sizes.short, metavar="N", help="few pictures; left out: %(default)s")
    add("--long", type=_count, default=sizes.long, metavar="N", help="many pictures; left out: %(default)s")
    add("--per-shard", type=_count, default=sizes.per_shard, metavar="N", help="of them; left out: %(default)s")
    add("--pictures", type=_count, default=sizes.pictures, metavar="N", help="for the parts; left out: %(default)s")
    return _with_json(parser)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _add_kill(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser("kill", help="kill a worker half-way, and compare what comes of it")
    add = parser.add_argument
    add("--only", action="append", choices=KILLED, help="this alone; repeatable")
    add("--processes", type=_count, default=2, metavar="N", help="of a launch; left out: %(default)s")
    add("--trials", type=_count, default=3, metavar="N", help="of training; left out: %(default)s")
    add("--train", default=TRAIN, metavar="OPTIONS", help="what to train, as options; left out: '%(default)s'")
    add("--shards", type=Path, metavar="DIR", help="to predict; left out: some are written")
    add("--count", type=_count, default=40_000, metavar="N", help="pictures in those; left out: %(default)s")
    add("--per-shard", type=_count, default=2_000, metavar="N", help="left out: %(default)s")
    add("--network", default="pretrained-mlp", metavar="REF", help="to predict with; left out: %(default)s")
    again = "how often torchrun starts its workers anew; with 0, the command is typed again; left out: 1"
    add("--max-restarts", type=int, default=1, metavar="N", help=again)
    add("--seed", type=int, default=0, metavar="N", help="other moments; left out: 0")
    return _with_json(parser)


def _add_docs(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser("docs", help="write what was measured and simulated into docs/scale.md")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="left out: docs/scale.json")
    return parser


def _with_json(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what is found here, beside what else is in it")
    return parser
