"""``python -m scale``, which ``scripts/scale`` runs: its commands and their options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from digitnet.errors import DigitnetError


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; the command to run is ``command``, which takes the options."""
    parser = argparse.ArgumentParser(prog="scripts/scale", description=__doc__.partition(":")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_shards(commands)
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
