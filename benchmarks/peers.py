"""Other people's scripts beside ours, in turns, as whole processes on the same machine in the same hour."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.context import Context, accuracy_on_test, train
from benchmarks.measure import BenchmarkError, Ended, Figure, Part, figure, ratio


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A script to time."""

    name: str
    """What the person typed, with the script's folder alone of its path."""
    command: tuple[str, ...]
    folder: Path
    """The script's own, where it runs."""


def parse_peers(texts: Sequence[str], where: Path) -> list[Peer]:
    """Understand all peers, which have to differ in their names.

    Raises:
        BenchmarkError: As of ``parse_peer``, or two have one name.
    """
    found = [parse_peer(text, where) for text in texts]
    names = [peer.name for peer in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BenchmarkError(f"two peers are called {min(twice)}; rename the folder of one")
    return found


def parse_peer(text: str, where: Path) -> Peer:
    """Understand ``[INTERPRETER ...] SCRIPT.py [ARGUMENT ...]``; without an interpreter, it is this Python.

    Args:
        text: As typed, quoted as for a shell.
        where: What a relative path of the script starts from.

    Raises:
        BenchmarkError: No word of it is a script, or there is none at that path.
    """
    words = shlex.split(text)
    at = next((i for i, word in enumerate(words) if word.endswith(".py")), None)
    if at is None:
        raise BenchmarkError(f"--peer {text!r}: no word of it is a script that ends in .py")
    script = (where / words[at]).resolve()
    if not script.is_file():
        raise BenchmarkError(f"--peer {text!r}: there is no file {script}")
    command = (*(words[:at] or [sys.executable]), str(script), *words[at + 1 :])
    name = " ".join([*words[:at], f"{script.parent.name}/{script.name}", *words[at + 1 :]])
    return Peer(name=name, command=command, folder=script.parent)


def measure_peers(context: Context, n: int, peers: Sequence[Peer]) -> Part:
    """Run ours and each peer once a round, n rounds; ours with the seeds 0 to n - 1, and its accuracy beside."""
    ours, reports = [], []
    theirs: dict[str, list[Ended]] = {peer.name: [] for peer in peers}
    failed: dict[str, str] = {}
    for seed in range(n):
        ended, report = train(context, "fast", seed)
        ours.append(ended)
        reports.append(report)
        for peer in (peer for peer in peers if peer.name not in failed):
            try:
                theirs[peer.name].append(context.run(peer.command, cwd=peer.folder))
            except BenchmarkError as error:
                failed[peer.name] = f"{peer.name}: {error}"
    accuracies = [accuracy_on_test(context, report["checkpoint"]) for report in reports]
    figures = [*_both("train --preset fast", ours), figure("its test accuracy", "share", accuracies)]
    for name, several in theirs.items():
        if name not in failed:
            figures += compare(name, several, figures[0])
    said = {name: [ended.last_lines(3) for ended in several] for name, several in theirs.items()}
    return context.part("beside other programs, whole processes", figures, last_lines=said, failed=failed)


def compare(name: str, several: Sequence[Ended], ours: Figure) -> list[Figure]:
    """Return a peer's time, its peak of memory, and its time over ours, round by round."""
    time, peak = _both(name, several)
    return [time, peak, ratio(f"{name}: its time over ours", time, ours)]


def _both(name: str, several: Sequence[Ended]) -> list[Figure]:
    seconds, peaks = [ended.seconds for ended in several], [ended.peak_mb for ended in several]
    return [figure(name, "s", seconds), figure(f"{name}: peak memory", "MB", peaks)]
