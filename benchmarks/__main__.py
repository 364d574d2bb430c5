"""``python -m benchmarks``, which ``scripts/benchmark`` runs: options, the parts in their order, JSON and Markdown."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.context import Context, inside, train
from benchmarks.machine import Probe, Watch, describe
from benchmarks.measure import BenchmarkError, Part
from benchmarks.peers import Peer, measure_peers, parse_peers
from benchmarks.processes import bulk, startup, training
from benchmarks.report import FORMAT, failures, markdown, part_to_dict, write_json

# How often each part is repeated: in full, and with --quick (0: left out).
RUNS = {
    "fast": (10, 3),
    "standard": (5, 0),
    "loop": (10, 3),
    "startup": (10, 3),
    "bulk": (5, 2),
    "augment": (5, 2),
    "width": (3, 1),
    "size": (3, 1),
    "gpu": (10, 3),
    "peer": (3, 3),
}
BULK_SIZES = (1_000, 20_000)
DATA_SIZES = (6_000, 20_000, 55_000)
WIDTHS = (1, 2, 4)
LIMIT_S = {False: 8.0, True: 2.0}  # of one run of the loop by augmentation and by width: in full, and with --quick


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark",
        description="Measure digitnet on this machine: a table in Markdown on stdout, all single values as JSON.",
    )
    parser.add_argument("--json", "--output", type=Path, metavar="FILE", help="write the JSON document here")
    parser.add_argument("--quick", action="store_true", help="fewer repeats: within 3 minutes on two cores")
    parser.add_argument("--standard", action="store_true", help="also train the preset standard, a minute a run")
    parser.add_argument("--only", action="append", choices=list(RUNS), help="measure this part alone; repeatable")
    parser.add_argument("--runs", type=_count, metavar="N", help="repeat each part so often")
    peers = "time this script beside ours, in its own folder; repeatable. '[PYTHON] SCRIPT.py [ARGUMENT ...]'"
    parser.add_argument("--peer", action="append", default=[], metavar="SCRIPT", help=peers)
    parser.add_argument("--peer-runs", type=_count, metavar="N", help="repeat the peers so often; left out: 3")
    files = f"files of the longer list of predict; left out: {BULK_SIZES[1]:,}"
    parser.add_argument("--bulk-files", type=_count, default=BULK_SIZES[1], metavar="N", help=files)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="left out: auto")
    options = parser.parse_args(arguments)
    if options.only and "peer" in options.only and not options.peer:
        parser.error("--only peer needs a --peer")
    if options.bulk_files <= BULK_SIZES[0]:
        parser.error(f"--bulk-files takes more than {BULK_SIZES[0]:,}, which the shorter list has")
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1, not {text!r}")
    return int(text)


def choose_parts(options: argparse.Namespace, on_gpu: bool) -> dict[str, int]:
    """Return the parts to measure, in their order, each with how often.

    Raises:
        BenchmarkError: A part is asked for that needs a GPU, and there is none.
    """
    if "gpu" in (options.only or ()) and not on_gpu:
        raise BenchmarkError("--only gpu: PyTorch finds no GPU on this machine")
    full = {name: runs[options.quick] for name, runs in RUNS.items()}
    wanted = set(options.only or full)
    if not options.only:
        wanted -= set() if options.standard else {"standard"}
        wanted -= set() if on_gpu else {"gpu"}
    if options.standard:
        wanted.add("standard")
    wanted = wanted | {"peer"} if options.peer else wanted - {"peer"}
    # What is asked for by name is measured in the quick mode too.
    repeats = {name: options.runs or full[name] or RUNS[name][0] for name in RUNS if name in wanted}
    if "peer" in repeats and options.peer_runs:
        repeats["peer"] = options.peer_runs
    return repeats


def measure(name: str, n: int, context: Context, options: argparse.Namespace, peers: Sequence[Peer]) -> Part:
    """Measure one part n times."""
    limit_s = LIMIT_S[options.quick]
    parts: dict[str, Callable[[], Part]] = {
        "fast": lambda: training(context, n, "fast"),
        "standard": lambda: training(context, n, "standard"),
        "loop": lambda: inside(context, "loop", n=n),
        "startup": lambda: startup(context, n),
        "bulk": lambda: bulk(context, n, (BULK_SIZES[0], options.bulk_files)),
        "augment": lambda: inside(context, "augment", n=n, limit_s=limit_s),
        "width": lambda: inside(context, "width", n=n, limit_s=limit_s, factors=WIDTHS),
        "size": lambda: inside(context, "size", n=n, sizes=DATA_SIZES),
        "gpu": lambda: inside(context, "gpu", n=n),
        "peer": lambda: measure_peers(context, n, peers),
    }
    return parts[name]()


def run(options: argparse.Namespace, document: dict[str, Any]) -> None:
    """Measure all parts into the document; one that fails is named there, and the others go on."""
    peers = parse_peers(options.peer, Path.cwd())
    document["machine"] = describe()  # before anything of ours makes the machine busy
    probe = Probe(options.device)
    try:
        document["machine"] |= probe.machine
        with tempfile.TemporaryDirectory(prefix="digitnet-benchmark-") as folder:
            context = Context(folder=Path(folder), device=options.device, probe=probe)
            parts = choose_parts(options, on_gpu=probe.machine["device"] == "cuda")
            _say("once untimed, so that files are read and compiled")
            train(context, "fast", 0)
            for name, n in parts.items():
                _say(f"{name}, n = {n}")
                context.products.clear()
                watch = Watch(probe)
                try:
                    found = measure(name, n, context, options, peers)
                    document["parts"][name] = part_to_dict(found, watch.others())
                except BenchmarkError as error:
                    _say(f"{name}: {error}")
                    document["parts"][name] = {"title": name, "error": str(error)}
                if options.json:
                    write_json(options.json, document)
    finally:
        probe.close()


def _say(text: str) -> None:
    sys.stderr.write(f"benchmark: {text}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; return 0, 1 where something could not be measured, and 130 when interrupted."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if folder := os.environ.get("DIGITNET_DATA_DIR"):
        os.environ["DIGITNET_DATA_DIR"] = str(Path(folder).resolve())  # commands run in folders of their own
    typed = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    document: dict[str, Any] = {"format": FORMAT, "options": typed, "machine": {}, "parts": {}}
    try:
        run(options, document)
    except BenchmarkError as error:
        if str(error):  # a process of ours may have said it already
            sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130
    sys.stdout.write(markdown(document) + "\n")
    return 1 if any(failures(part) for part in document["parts"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
