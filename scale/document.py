"""docs/scale.md: the blocks of it that are made of docs/scale.json, so that no figure in them is typed by hand.

A block begins with ``<!-- measured: NAME -->`` and ends with ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scale.measure import ONE, SINGLE, TWO
from scale.results import Results
from scale.simulation import table

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs" / "scale.md", ROOT / "docs" / "scale.json"

BLOCK = re.compile(r"(<!-- measured: ([a-z ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
MISSING = "Not measured yet."
DAY_S = 86_400
A_DAY = 1_000_000_000
MILLION = 1_000_000

# README.md, "Results": preset fast on an NVIDIA H100, validation included. Measured then; there is no GPU here.
GPU_STEPS, GPU_BATCH, GPU_S = 128, 256, 0.094
GPU_PER_MILLION_S = GPU_S * MILLION / (GPU_STEPS * GPU_BATCH)


def renewed(page: str, results: Results) -> str:
    """Return the page with its blocks as they are to be."""
    return BLOCK.sub(lambda found: f"{found[1]}{block(found[2], results)}\n{found[4]}", page)


def block(name: str, results: Results) -> str:
    """Return what stands in a block, without the end of its last line."""
    makers: dict[str, tuple[Callable[[Results], str], set[str]]] = {
        "training": (_training, {"training"}),
        "bulk": (_bulk, {"bulk"}),
        "parts": (_parts, {"parts"}),
        "cost": (_cost, {"training", "parts"}),
        "day": (_day, {"training", "parts"}),
        "killed": (_killed, {"killed training", "killed bulk"}),
        "simulation": (_simulation, {"simulation"}),
    }
    make, needed = makers[name]
    return make(results) if needed <= results.keys() else MISSING


def measured_rate(results: Results) -> float | None:
    """Return how many pictures a second a core predicts with the pretrained CNN; None where that was not measured."""
    if "parts" not in results:
        return None
    return MILLION / _per_million(results, "all, pretrained-cnn, fp32")


def _per_million(results: Results, name: str) -> float:
    return float(results["parts"]["seconds_per_million"][name]["median"])


def _training(results: Results) -> str:
    found = results["training"]
    said = f"{found['images']:,} images of strokes, {found['epochs']} epochs, of which the first does not count"
    return f"{_ways(found['presets'], 'preset')}\n\n{_where(found)}; {said}."


def _bulk(results: Results) -> str:
    found = results["bulk"]
    said = f"the time for {found['long']:,} pictures less that for {found['short']:,}"
    return f"{_ways(found['networks'], 'network')}\n\n{_where(found)}; {said}."


def _ways(found: Mapping[str, Any], what: str) -> str:
    head = f"| {what} | n | {TWO} | {ONE} | {SINGLE} | two processes over one, two threads |"
    rows = [
        f"| {name} | {ways[TWO]['n']} | {_spread(ways[TWO], ',.0f', ' images/s')} | {_spread(ways[ONE], ',.0f')} "
        f"| {_spread(ways[SINGLE], ',.0f')} | {_spread(ways['ratio'], '.2f')} |"
        for name, ways in found.items()
    ]
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def _spread(found: Mapping[str, Any], form: str, unit: str = "") -> str:
    return f"{found['median']:{form}}{unit} ({found['least']:{form}} to {found['most']:{form}})"


def _parts(results: Results) -> str:
    found = results["parts"]
    rows = [f"| {name} | {_spread(one, '.1f', ' s')} |" for name, one in found["seconds_per_million"].items()]
    n = next(iter(found["seconds_per_million"].values()))["n"]
    sizes = found["bytes_per_picture"]
    said = f"n = {n}; {sizes['shard']:,.0f} bytes a picture in the shard, {sizes['answers']:,.0f} in the answers"
    return "\n".join(["| part | for a million pictures |", "|---|---|", *rows, "", f"{_where(found)}; {said}."])


def _cost(results: Results) -> str:
    rows = [
        f"| training, preset {name} | {MILLION / ways[SINGLE]['median']:,.0f} s of a core |"
        for name, ways in results["training"]["presets"].items()
    ]
    rows.append(f"| training, preset fast, on an NVIDIA H100 | {GPU_PER_MILLION_S:.1f} s of the GPU |")
    rows += [
        f"| prediction, {name} | {_per_million(results, f'all, {name}'):,.0f} s of a core |"
        for name in _networks(results)
    ]
    return "\n".join(["| a million images | take |", "|---|---|", *rows])


def _networks(results: Results) -> list[str]:
    """Return the networks that were measured, each with its precision."""
    names = results["parts"]["seconds_per_million"]
    return [name.removeprefix("all, ") for name in names if name.startswith("all, ")]


def _day(results: Results) -> str:
    sizes = results["parts"]["bytes_per_picture"]
    rows = [
        f"| {_cores(MILLION / ways[SINGLE]['median'])} cores | train on them, preset {name} |"
        for name, ways in results["training"]["presets"].items()
    ]
    rows.append(
        f"| {_cores(GPU_PER_MILLION_S, '.2f')} of an H100 | train on them, preset fast, the images being there |"
    )
    rows += [
        f"| {_cores(_per_million(results, f'all, {name}'))} cores | predict them, {name} |"
        for name in _networks(results)
    ]
    ready = sum(_per_million(results, name) for name in ("read the shard", "decode", "prepare"))
    rows.append(
        f"| {_cores(ready)} cores | of these, read, decode and prepare the pictures, which a GPU does not take over |"
    )
    rows += [
        f"| {size * A_DAY / DAY_S / 1e6:.1f} MB/s, {size * A_DAY / 1e12:.2f} TB | {what} |"
        for size, what in ((sizes["shard"], "shards to read"), (sizes["answers"], "answers to write"))
    ]
    return "\n".join(["| 10^9 pictures in a day need | to |", "|---|---|", *rows])


def _cores(per_million_s: float, form: str = ".1f") -> str:
    return f"{per_million_s * A_DAY / MILLION / DAY_S:{form}}"


def _killed(results: Results) -> str:
    training, bulk = results["killed training"], results["killed bulk"]
    compared = "the tensors, the records of all epochs and the last state compared to the bit with an undisturbed run"
    share = f"{bulk['right'] / max(bulk['pictures'], 1):.2%} as their labels say"
    lines = [
        f"- Training, {training['trials']} times: {_faults(training)}; {compared}, {training['tensors']} tensors. "
        f"{_again(training['again_s'])}",
        f"- Bulk prediction of {bulk['pictures']:,} pictures in {bulk['shards']:,} shards: {_faults(bulk)}; "
        f"each picture once, in the order of its shard, {share}. {_again([bulk['again_s']])}",
    ]
    return "\n".join(lines)


def _faults(found: Mapping[str, Any]) -> str:
    return f"{len(found['faults'])} differences" if found["faults"] else "no difference"


def _again(seconds: Sequence[float | None]) -> str:
    known = [s for s in seconds if s is not None]
    return f"Other workers were started {max(known):.1f} s after the kill at most." if known else "Typed again by hand."


def _simulation(results: Results) -> str:
    rows = results["simulation"]
    plan = rows[0][0]["plan"]
    said = (
        f"{plan['shards']:,} shards of {plan['per_shard']:,} pictures; {plan['nodes']} nodes of {plan['workers']} "
        f"workers; {plan['rate']:,.0f} pictures a second of the average worker, standard deviation of the logarithm "
        f"{plan['worker_spread']:g} between workers, {plan['shard_spread']:g} between shards; {plan['restart_s']:g} s "
        f"to start anew, {plan['repair_s']:g} s until a node is back; {plan['partitions']:.0%} of the nodes that fail "
        f"are only cut off; means of {len(rows[0])} seeds."
    )
    return f"{table(rows)}\n\n{said}"


def _where(found: Mapping[str, Any]) -> str:
    """Say on what machine something was measured, and whether others were at work on it."""
    machine = found["machine"]
    return f"{machine['processor']}, {machine['cores']} cores, {machine['busy']:.0%} of them busy before it began"
