"""One launch of torchrun from its start to its end, on a clock that jumps from event to event.

Who does which unit is decided by digitnet's own ``assignment``: each start of the workers makes a ``Share`` for each,
from what is done by then and one counter of tickets, and a worker that has finished asks its share for the next.

What torchrun does is modelled. Where one worker fails, all workers of the launch are ended, whatever they have in hand,
and started anew. A node that fails takes its workers along; the others are started anew without it, and once more when
it is back, for torchrun starts all of them when a member joins. The first node keeps the rendezvous and the counter:
while it is away, all wait.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from digitnet.assignment import Share, left
from scale.cluster import NEVER, Plan, Shard, Tally

Kind = Literal["started", "finished", "written", "worker fails", "node fails", "node is back"]
Event = tuple[float, int, Kind, int, int]
"""When, a number that keeps ties in order, what, of which node or worker, and in which start of the launch."""


@dataclass
class _Worker:
    node: int
    speed: float
    share: Iterator[tuple[int, Shard]] | None = None
    """What it still asks for units; None while it is not running, or has nothing left to do."""
    unit: tuple[int, Shard] | None = None
    """What it has in hand."""
    since_s: float = 0.0
    """When it took that."""


class Launch:
    """A launch over some nodes, which is to do some shards; ``nodes`` says which of the plan's they are."""

    def __init__(
        self, plan: Plan, shards: Sequence[Shard], nodes: Sequence[int], speeds: Sequence[Sequence[float]]
    ) -> None:
        self._plan, self._shards, self._nodes = plan, shards, nodes
        self._workers = [_Worker(place, speed) for place, node in enumerate(nodes) for speed in speeds[node]]
        self._random = {node: plan.random(f"failures of node {node}") for node in nodes}
        self._up = [True] * len(nodes)
        self._events: list[Event] = []
        self._ties = itertools.count()
        self._start = 0
        self._starting = True
        self._now_s = 0.0
        self.done: dict[int, str] = {}
        self.completed: Counter[int] = Counter()
        self.first_idle_s = 0.0
        self.tally = Tally()

    def run(self) -> Tally:
        """Let the clock run until all is done."""
        for place in range(len(self._nodes)):
            self._await_failure("worker fails", place)
            self._await_failure("node fails", place)
        self._restart()
        while self._starting or any(worker.unit for worker in self._workers):
            time_s, _, kind, subject, start = heapq.heappop(self._events)
            self._pass_time(time_s)
            self._happen(kind, subject, start)
        assert not left(self.done, len(self._shards)), "a launch ended with units left"
        self.tally.elapsed_s = self._now_s
        return self.tally

    def _happen(self, kind: Kind, subject: int, start: int) -> None:
        match kind:
            case "started" if start == self._start:
                self._begin()
            case "finished" if start == self._start:
                self._finish(subject)
            case "written":
                self._complete(subject)
            case "worker fails":
                self._fail_worker(subject)
            case "node fails":
                self._fail_node(subject)
            case "node is back":
                self._up[subject] = True
                self._restart()
            case _:
                pass  # of a start that a failure has ended

    def _begin(self) -> None:
        """Start the workers of all nodes that are up, as each process of a launch starts itself."""
        self._starting = False
        self.first_idle_s = NEVER
        done, tickets = dict(self.done), itertools.count()
        for number, worker in enumerate(self._workers):
            if self._up[worker.node]:
                worker.share = iter(Share(self._shards, tickets, done))
                self._take(number)

    def _take(self, number: int) -> None:
        worker = self._workers[number]
        assert worker.share is not None
        worker.unit, worker.since_s = next(worker.share, None), self._now_s
        if worker.unit is None:
            self.first_idle_s = min(self.first_idle_s, self._now_s)
        else:
            takes_s = worker.unit[1].work * self._plan.per_shard / worker.speed
            self._schedule(takes_s, "finished", number)

    def _finish(self, number: int) -> None:
        worker = self._workers[number]
        assert worker.unit is not None
        self.tally.useful_s += self._now_s - worker.since_s
        self._complete(worker.unit[0])
        self._take(number)

    def _complete(self, unit: int) -> None:
        """Rename the part of a unit into its place, over one that may be there; the answers in it are the same."""
        self.done[unit] = self._shards[unit].digest
        self.completed[unit] += 1

    def _fail_worker(self, place: int) -> None:
        if self._up[place]:
            self.tally.worker_failures += 1
            self._restart()
        self._await_failure("worker fails", place)

    def _fail_node(self, place: int) -> None:
        self.tally.node_failures += 1
        if self._random[self._nodes[place]].random() < self._plan.partitions:
            self._cut_off(place)
        self._up[place] = False
        self._schedule(self._plan.repair_s, "node is back", place)
        self._await_failure("node fails", place, self._plan.repair_s)
        self._restart()

    def _cut_off(self, place: int) -> None:
        """Let the workers of a node that the others no longer reach finish and write what they have in hand."""
        for worker in self._workers:
            if worker.node == place and worker.unit is not None:
                takes_s = worker.unit[1].work * self._plan.per_shard / worker.speed
                self._schedule(worker.since_s + takes_s - self._now_s, "written", worker.unit[0])

    def _restart(self) -> None:
        """End all workers, with what they have in hand, and start those anew whose node is up."""
        self.tally.restarts += self._start > 0
        self._start += 1
        self._starting = True
        for worker in self._workers:
            if worker.unit is not None:
                self.tally.lost_s += self._now_s - worker.since_s
                self.tally.lost_units += 1
            worker.unit = worker.share = None
        if self._up[0]:
            self._schedule(self._plan.restart_s, "started", 0)

    def _pass_time(self, to_s: float) -> None:
        """Account for the workers that do nothing from now until then; what the others do is known when it ends."""
        passed_s, self._now_s = to_s - self._now_s, to_s
        for worker in self._workers:
            if not self._up[worker.node] or not self._up[0]:
                self.tally.down_s += passed_s
            elif self._starting:
                self.tally.restarting_s += passed_s
            elif worker.unit is None:
                self.tally.idle_s += passed_s

    def _await_failure(self, kind: Literal["worker fails", "node fails"], place: int, after_s: float = 0.0) -> None:
        numbers = self._random[self._nodes[place]]
        mean_h = self._plan.worker_mtbf_h / self._plan.workers if kind == "worker fails" else self._plan.node_mtbf_h
        if mean_h != NEVER:
            self._schedule(after_s + numbers.expovariate(1 / (3600 * mean_h)), kind, place)

    def _schedule(self, after_s: float, kind: Kind, subject: int) -> None:
        heapq.heappush(self._events, (self._now_s + after_s, next(self._ties), kind, subject, self._start))
