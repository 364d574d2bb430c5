"""A bulk prediction on machines that fail, simulated: how long it takes, what is lost, how often each unit is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any, get_args

from scale.cluster import NEVER, Mode, Outcome, Plan, add_up
from scale.launches import Launch

FAILURES_H = ((NEVER, NEVER), (240.0, 720.0), (24.0, 72.0), (4.0, 12.0), (1.0, 3.0))
"""Mean hours between failures of a worker, and of a node, that are simulated where none are asked for."""
SEEDS = 3

HEADING = """\
| a worker, a node fails every | launches | hours | of full speed | failures of workers, nodes | units begun again \
| lost work | starting anew | nodes away | nothing left to do | units completed once, twice or more | in the result |
|---|---|---|---|---|---|---|---|---|---|---|---|"""
LOSSES = ("lost_s", "restarting_s", "down_s", "idle_s")


def simulate(plan: Plan, mode: Mode) -> Outcome:
    """Let a plan be carried out, in one launch or in one a node.

    Raises:
        AssertionError: A unit is missing from the merged result, or twice in it.
    """
    shards, speeds = plan.deal(), plan.speeds()
    groups = [range(plan.nodes)] if mode == "one" else [range(k, k + 1) for k in range(plan.nodes)]
    launches = [Launch(plan, shards[k :: len(groups)], group, speeds) for k, group in enumerate(groups)]
    tallies = [launch.run() for launch in launches]
    tally = add_up(tallies, plan.all_workers // len(groups))
    merged = sorted(digest for launch in launches for digest in launch.done.values())
    assert merged == [shard.digest for shard in shards], "the merged result does not hold every unit once"
    completed = Counter(times for launch in launches for times in launch.completed.values())
    return Outcome(
        mode=mode,
        plan=plan,
        tally=tally,
        ideal_s=sum(shard.work for shard in shards) * plan.per_shard / sum(map(sum, speeds)),
        completed=dict(sorted(completed.items())),
        merged=len(merged),
        tail_s=tally.elapsed_s - min(launch.first_idle_s for launch in launches),
    )


def simulate_failures(
    plan: Plan, failures_h: Sequence[tuple[float, float]], seeds: int = SEEDS
) -> Iterator[list[Outcome]]:
    """Let a plan be carried out with machines that fail so and so often, in each way of launching it.

    Yields:
        The outcomes of one rate of failures and one way, with the plan's seed and those after it.
    """
    for worker_h, node_h in failures_h:
        for mode in get_args(Mode):
            failing = replace(plan, worker_mtbf_h=worker_h, node_mtbf_h=node_h)
            yield [simulate(replace(failing, seed=plan.seed + more), mode) for more in range(seeds)]


def to_dict(outcome: Outcome) -> dict[str, Any]:
    """Describe an outcome in plain values; what never fails has null."""
    plan = {name: None if value == NEVER else value for name, value in asdict(outcome.plan).items()}
    return {**asdict(outcome), "plan": plan, "completed": {str(k): n for k, n in outcome.completed.items()}}


def table(rows: Iterable[Sequence[Mapping[str, Any]]]) -> str:
    """Put outcomes, as ``to_dict`` describes them, into a table in Markdown: a row for each list, with its means."""
    return "\n".join([HEADING, *map(_row, rows)])


def _row(outcomes: Sequence[Mapping[str, Any]]) -> str:
    plan, mode = outcomes[0]["plan"], outcomes[0]["mode"]
    tally = {name: fmean(outcome["tally"][name] for outcome in outcomes) for name in outcomes[0]["tally"]}
    all_s = tally["elapsed_s"] * plan["nodes"] * plan["workers"]
    once = fmean(outcome["completed"].get("1", 0) for outcome in outcomes)
    cells = [
        f"{_hours(plan['worker_mtbf_h'])}, {_hours(plan['node_mtbf_h'])}",
        "one" if mode == "one" else "one a node",
        f"{tally['elapsed_s'] / 3600:.2f}",
        f"{fmean(outcome['ideal_s'] for outcome in outcomes) / tally['elapsed_s']:.1%}",
        f"{tally['worker_failures']:,.1f}, {tally['node_failures']:,.1f}",
        f"{tally['lost_units']:,.1f}",
        *(f"{tally[name] / all_s:.2%}" for name in LOSSES),
        f"{once:,.1f}, {plan['shards'] - once:,.1f}",
        f"{fmean(outcome['merged'] for outcome in outcomes):,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _hours(mean_h: float | None) -> str:
    return "never" if mean_h is None else f"{mean_h:g} h"
