"""What is simulated: shards, nodes with their workers, how often these fail, and what came of it all."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

Mode = Literal["one", "per-node"]
"""One launch over all nodes, or one on each node, with the shards dealt between them."""

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Shard:
    """A unit: what one worker does at once."""

    number: int
    """Among all shards, whichever launch it is dealt to."""
    work: float
    """How long it takes beside the average shard, which takes 1."""

    @property
    def digest(self) -> str:
        """What tells it from any other one."""
        return f"{self.number:08x}"

    def __str__(self) -> str:
        return f"shard {self.number}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A bulk prediction, and the machines for it."""

    shards: int = 100_000
    per_shard: int = 10_000
    nodes: int = 4
    workers: int = 4
    """Of each node."""
    rate: float = 1_000.0
    """Pictures a second that the average worker predicts."""
    worker_spread: float = 0.1
    """Standard deviation of the logarithm of the workers' speeds."""
    shard_spread: float = 0.1
    """The same of the shards' work."""
    worker_mtbf_h: float = NEVER
    """Mean time between the failures of one worker."""
    node_mtbf_h: float = NEVER
    """The same of one node, which takes its workers with it."""
    restart_s: float = 30.0
    """From a failure until the workers work again: torchrun notices, starts them, and they import and load."""
    repair_s: float = 600.0
    """From a node's failure until it is back."""
    partitions: float = 0.25
    """Share of node failures that only cut it off: its workers finish what they have in hand, and write it."""
    seed: int = 0

    @property
    def all_workers(self) -> int:
        """How many workers there are."""
        return self.nodes * self.workers

    def deal(self) -> list[Shard]:
        """Make the shards."""
        numbers = self.random("shards")
        return [Shard(i, numbers.lognormvariate(0, self.shard_spread)) for i in range(self.shards)]

    def speeds(self) -> list[list[float]]:
        """Return the speed of each node's workers, in pictures a second."""
        numbers = self.random("workers")
        draw = [self.rate * numbers.lognormvariate(0, self.worker_spread) for _ in range(self.all_workers)]
        return [draw[i : i + self.workers] for i in range(0, self.all_workers, self.workers)]

    def random(self, purpose: str) -> random.Random:
        """Return random numbers that depend on the seed and their purpose alone."""
        return random.Random(f"{self.seed}/{purpose}")


@dataclass(kw_only=True)
class Tally:
    """What came of a launch, or of all; times are in seconds, of one worker each where they are summed."""

    elapsed_s: float = 0.0
    useful_s: float = 0.0
    """Spent on units that were finished."""
    lost_s: float = 0.0
    """Spent on units that a failure ended."""
    restarting_s: float = 0.0
    down_s: float = 0.0
    """Of workers whose node is away, or waits for the one that keeps the rendezvous."""
    idle_s: float = 0.0
    """Nothing left to do, but others still at work."""
    worker_failures: int = 0
    node_failures: int = 0
    restarts: int = 0
    lost_units: int = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a plan."""

    mode: Mode
    plan: Plan
    tally: Tally
    ideal_s: float
    """What all workers would take together if none ever waited or failed."""
    completed: dict[int, int]
    """How many units were completed once, twice, ...: by how often."""
    merged: int
    """Units in the merged result, each of them once."""
    tail_s: float
    """From when the first worker found nothing left to do until the end."""


def add_up(tallies: Sequence[Tally], workers: int) -> Tally:
    """Add up launches of so many workers each that ran side by side: the workers of those that ended first wait."""
    total = Tally(**{f.name: sum(getattr(t, f.name) for t in tallies) for f in fields(Tally)})
    total.elapsed_s = max(tally.elapsed_s for tally in tallies)
    total.idle_s += sum((total.elapsed_s - tally.elapsed_s) * workers for tally in tallies)
    return total
