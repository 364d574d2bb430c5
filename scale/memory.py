"""``python -m scale.memory``: train on a set of shards that is larger than the memory it is given.

Needs Linux, root and the memory controller of cgroup v1. The set is unpacked before, without a limit; then it is
dropped from the system's cache before each run, so that what a run reads is counted as its own. Each run's figures are
a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/memory")
NO_LIMIT = 1 << 40

# The counter-proof: the same images, in memory.
IN_MEMORY = """
import sys
from digitnet.data.load import load_training
train, _ = load_training(sys.argv[1])
images, targets = train.images.clone(), train.targets.clone()
print(len(images))
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a process came to."""

    code: int
    """Its exit code; negative: the signal that ended it."""
    peak_bytes: int
    """The most that it held, cached files included."""
    output: str


def run_capped(command: Sequence[str], limit_bytes: int) -> Outcome:
    """Run a command in a control group of its own, which may hold so many bytes.

    Raises:
        OSError: There is no such controller, or we may not use it.
    """
    group = Path(tempfile.mkdtemp(prefix="digitnet-", dir=CGROUP))
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        enter = 'echo $$ > "$0" && exec "$@"'
        done = subprocess.run(
            ["/bin/sh", "-c", enter, str(group / "cgroup.procs"), *command], stdout=subprocess.PIPE, check=False
        )
        peak = int((group / "memory.max_usage_in_bytes").read_text())
        return Outcome(code=done.returncode, peak_bytes=peak, output=done.stdout.decode())
    finally:
        group.rmdir()


def drop_cached(folder: Path) -> None:
    """Ask the system to forget what it has cached of the files in a folder."""
    for path in folder.rglob("*.bin"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def train(dataset: str, limit_bytes: int, window: int | None) -> dict[str, object]:
    """Train for an epoch under a limit; return the figures."""
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "digitnet", "train", "--model", "mlp", "--preset", "fast", "--epochs", "1"]
        command += ["--dataset", dataset, "--output", runs, "--name", "capped", "--device", "cpu", "--json"]
        command += ["--shuffle-window", str(window)] if window else []
        outcome = run_capped(command, limit_bytes)
        report = json.loads(outcome.output) if outcome.code == 0 else {}
    record, elapsed_s = report.get("record", {}), report.get("total_s")
    images = record.get("train_size")
    return {
        "code": outcome.code,
        "peak_bytes": outcome.peak_bytes,
        "images": images,
        "images_per_s": images / elapsed_s if images and elapsed_s else None,
        "validation_accuracy": record.get("validation_accuracy"),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all; return 1 where training failed under the limit, or where the images fit into it after all."""
    parser = argparse.ArgumentParser(prog="python -m scale.memory", description="Train under a limit on memory.")
    parser.add_argument("dataset", metavar="DIR", help="shards, such as scripts/scale shards makes")
    parser.add_argument("--limit", type=int, default=600, metavar="MB", help="left out: %(default)s")
    parser.add_argument("--window", type=int, metavar="N", help="--shuffle-window; left out: its default")
    options = parser.parse_args(arguments)
    limit = options.limit * 1_000_000
    from digitnet.data.cache import cache_dir
    from digitnet.data.load import load_digits

    whole = load_digits(options.dataset, "train")
    set_bytes = whole.images.nbytes + whole.targets.nbytes
    figures: dict[str, dict[str, object]] = {}
    for name, allowed in (("without a limit", NO_LIMIT), ("under the limit", limit)):
        drop_cached(cache_dir())
        figures[name] = train(options.dataset, allowed, options.window)
        _say(name, {"set_bytes": set_bytes, "limit_bytes": allowed, **figures[name]})
    drop_cached(cache_dir())
    in_memory = run_capped([sys.executable, "-c", IN_MEMORY, options.dataset], limit)
    _say("in memory, under the limit", {"limit_bytes": limit, **asdict(in_memory)})
    proven = figures["under the limit"]["code"] == 0 and in_memory.code == -signal.SIGKILL
    return 0 if proven else 1


def _say(name: str, values: dict[str, object]) -> None:
    sys.stdout.write(json.dumps({"run": name, **values}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
