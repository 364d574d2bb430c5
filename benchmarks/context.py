"""What the parts share: where to write, the matrix products in between, and the processes of ours that they start."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import Probe
from benchmarks.measure import Ended, Figure, Part, figure, run_checked

IMPORT_TORCH = (sys.executable, "-c", "import torch")


@dataclass(kw_only=True)
class Context:
    """One run of the benchmark."""

    folder: Path
    """For what the commands write; removed in the end."""
    device: str
    probe: Probe
    products: list[float] = field(default_factory=list)
    """The matrix products of the part that is being measured."""

    def run(self, command: tuple[str, ...], *, cwd: Path | None = None, stdin: Path | None = None) -> Ended:
        """Run a command that has to succeed, after a matrix product of the machine's own."""
        self.products.append(self.probe.product())
        return run_checked(command, cwd=cwd or self.folder, stdin=stdin)

    def part(self, title: str, figures: list[Figure], **details: Any) -> Part:
        """End a part: put what it found together with the matrix products between."""
        products, self.products = tuple(self.products), []
        return Part(title=title, figures=tuple(figures), details=details, products=products)


def digitnet(*arguments: str) -> tuple[str, ...]:
    """Return the command line of digitnet, in this Python."""
    return (sys.executable, "-m", "digitnet", *arguments)


def train(context: Context, preset: str, seed: int) -> tuple[Ended, dict[str, Any]]:
    """Train as a person would, from the shell prompt to the saved checkpoint; return its JSON summary as well."""
    name = f"{preset}-{len(list(context.folder.glob('runs/*')))}"
    where = ("--output", "runs", "--name", name, "--dataset", "mnist", "--device", context.device)
    ended = context.run(digitnet("train", "--preset", preset, "--seed", str(seed), *where, "--json"))
    return ended, json.loads(ended.stdout)


def accuracy_on_test(context: Context, checkpoint: str) -> float:
    """Return a checkpoint's accuracy on MNIST's 10,000 test images; read after the clock has stopped."""
    where = ("--dataset", "mnist", "--split", "test", "--device", context.device)
    command = digitnet("eval", "--checkpoint", checkpoint, *where, "--json")
    report = json.loads(run_checked(command, cwd=context.folder).stdout)
    assert report["count"] == 10_000, report["count"]
    return float(report["accuracy"])


def inside(context: Context, part: str, **options: Any) -> Part:
    """Measure a part that has torch in it, in a process of its own."""
    command = (sys.executable, "-m", "benchmarks.worker", part, json.dumps({"device": context.device, **options}))
    found = json.loads(run_checked(command, cwd=context.folder).stdout)
    context.products.extend(found["products"])
    figures = [figure(row["name"], row["unit"], row["values"]) for row in found["figures"]]
    return context.part(found["title"], figures, **found["details"])
