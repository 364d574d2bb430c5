"""What training and prediction cost: two processes beside one, in turns, and the parts of what one core does."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure, figure, ratio, run_checked
from digitnet.runs import METRICS
from scale.commands import CPU, alone, torchrun
from scale.shards import Shards, write_shards

TWO, ONE, SINGLE = "two processes, a thread each", "one process, two threads", "one process, one thread"
MILLION = 1_000_000
MEASURED = ("training", "bulk", "parts")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    runs: int = 5
    presets: tuple[str, ...] = ("fast", "standard")
    train_size: int = 20_000
    epochs: int = 4
    networks: tuple[str, ...] = ("pretrained-cnn", "pretrained-mlp")
    short: int = 20_000
    long: int = 60_000
    per_shard: int = 5_000
    pictures: int = 5_000


def described(found: Figure) -> dict[str, Any]:
    """Describe a figure in plain values, by its median and its spread."""
    values = {"n": len(found.values), "median": statistics.median(found.values)}
    return {**values, "least": min(found.values), "most": max(found.values), "unit": found.unit, "values": found.values}


def measure_training(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Train each preset in two processes, in one with as many threads, and in one with one, in turns."""
    return {
        "images": sizes.train_size,
        "epochs": sizes.epochs,
        "presets": {preset: _train_in_turns(preset, sizes, folder) for preset in sizes.presets},
    }


def _train_in_turns(preset: str, sizes: Sizes, folder: Path) -> dict[str, Any]:
    rates: dict[str, list[float]] = {TWO: [], ONE: [], SINGLE: []}
    for round_ in range(sizes.runs):
        for place, way in enumerate(rates):
            name = f"{preset}-{round_}-{place}"
            data = ("--dataset", "strokes", "--train-size", str(sizes.train_size))
            when = ("--epochs", str(sizes.epochs), "--seed", str(round_))
            options = ("--preset", preset, *data, *when, *CPU, "--output", str(folder / "runs"), "--name", name)
            run_checked(_launched(way, "train", *options), cwd=folder)
            rates[way].append(images_per_s(folder / "runs" / name / METRICS))
    return _compared(rates)


def _launched(way: str, *arguments: str) -> tuple[str, ...]:
    return torchrun(2, *arguments) if way == TWO else alone(2 if way == ONE else 1, *arguments)


def images_per_s(metrics: Path) -> float:
    """Return how fast the epochs of a run were, but for the first, in which much is done for the first time."""
    with metrics.open(newline="") as stream:
        rates = [float(row["images_per_s"]) for row in csv.DictReader(stream)]
    return statistics.harmonic_mean(rates[1:] or rates)  # each of them has the same images


def _compared(rates: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    figures = {way: figure(way, "images/s", values) for way, values in rates.items()}
    found = {way: described(one) for way, one in figures.items()}
    found["ratio"] = described(ratio("two processes over one with two threads", figures[TWO], figures[ONE]))
    return found


def measure_bulk(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Predict few and many pictures in tar shards, in turns; the difference of the two has no start-up in it."""
    shards: dict[int, list[str]] = {}
    for count in (sizes.short, sizes.long):
        place = folder / f"shards-{count}"
        write_shards(Shards(count=count, per_shard=sizes.per_shard, seed=0), place, 1)
        shards[count] = sorted(map(str, place.glob("*.tar")))
    networks = {network: _predict_in_turns(network, shards, sizes, folder) for network in sizes.networks}
    return {"short": sizes.short, "long": sizes.long, "per_shard": sizes.per_shard, "networks": networks}


def _predict_in_turns(network: str, shards: Mapping[int, list[str]], sizes: Sizes, folder: Path) -> dict[str, Any]:
    rates: dict[str, list[float]] = {TWO: [], ONE: [], SINGLE: []}
    starts: dict[str, list[float]] = {way: [] for way in rates}
    for round_ in range(sizes.runs):
        for place, way in enumerate(rates):
            seconds = {}
            for count, names in shards.items():
                output = folder / f"answers-{network}-{count}-{round_}-{place}"
                options = ("--checkpoint", network, *CPU, "--output", str(output))
                seconds[count] = run_checked(_launched(way, "predict", *options, *names), cwd=folder).seconds
            rates[way].append((sizes.long - sizes.short) / (seconds[sizes.long] - seconds[sizes.short]))
            starts[way].append(seconds[sizes.short] - sizes.short / rates[way][-1])
    found = _compared(rates)
    found["start"] = {way: described(figure(way, "s", values)) for way, values in starts.items()}
    return found
