"""What the parts of a prediction take on one core: reading the shard, decoding, preparing, the network, and writing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from benchmarks.measure import Figure, difference, figure
from digitnet.config import PrecisionName
from digitnet.decoding import read_picture
from digitnet.device import choose_precision
from digitnet.inputs import read_shard
from digitnet.pictures import read_prepared
from digitnet.predictor import BATCH_SIZE, Classifier, Prediction
from digitnet.reports import answer_report
from digitnet.sources import Packed, Unreadable
from scale.measure import MILLION, Sizes, described
from scale.shards import Shards, write_shards

TOP_K = 3
PRECISIONS = tuple(name for name in get_args(PrecisionName) if name != "auto")


def measure_parts(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Time each part over the same shard, in turns, on one thread; in a core's seconds for a million pictures."""
    shard = _write_shard(sizes, folder)
    pictures = [found for found in read_shard(shard) if isinstance(found, Packed)]
    pixels = torch.from_numpy(np.stack([read_prepared(picture).pixels for picture in pictures]))[:, None]
    networks = {f"{name}, {precision}": _load(name, precision) for name in sizes.networks for precision in PRECISIONS}
    first = next(iter(networks.values()))
    answers = list(first.predict_files(pictures))
    parts: dict[str, Callable[[], object]] = {
        "read the shard": lambda: list(read_shard(shard)),
        "decode": lambda: [read_picture(picture) for picture in pictures],
        "decode and prepare": lambda: [read_prepared(picture) for picture in pictures],
        "write": lambda: _write(answers, folder / "answers.jsonl"),
    }
    for name, classifier in networks.items():
        parts[f"network, {name}"] = partial(_run, classifier, pixels)
        parts[f"all, {name}"] = partial(_predict, classifier, shard, folder / "all.jsonl")
    with _one_thread():
        times = _time_in_turns(parts, sizes.runs)
    per_million = {
        name: figure(name, "s", [s * MILLION / len(pictures) for s in several]) for name, several in times.items()
    }
    bytes_ = {"shard": shard.stat().st_size, "answers": (folder / "all.jsonl").stat().st_size}
    return {
        "pictures": len(pictures),
        "bytes_per_picture": {name: size / len(pictures) for name, size in bytes_.items()},
        "seconds_per_million": {name: described(one) for name, one in _with_the_rest(per_million, networks).items()},
    }


def _with_the_rest(found: Mapping[str, Figure], networks: Iterable[str]) -> dict[str, Figure]:
    """Tell preparing from decoding, and add what the whole takes beside its parts."""
    preparing = difference("prepare", found["decode and prepare"], found["decode"])
    common = {"read the shard": found["read the shard"], "decode": found["decode"], "prepare": preparing}
    common["write"] = found["write"]
    parts = dict(common)
    for name in networks:
        network, rest, whole = (f"{part}, {name}" for part in ("network", "the rest", "all"))
        left = found[whole]
        for part in (*common.values(), found[network]):
            left = difference(rest, left, part)
        parts |= {network: found[network], rest: left, whole: found[whole]}
    return parts


def _write_shard(sizes: Sizes, folder: Path) -> Path:
    shards = Shards(count=sizes.pictures, per_shard=sizes.pictures, seed=0)
    write_shards(shards, folder / "parts", 1)
    return folder / "parts" / shards.name_of(0)


def _load(name: str, precision: PrecisionName) -> Classifier:
    cpu = torch.device("cpu")
    return Classifier.load(name, cpu, choose_precision(precision, cpu))


def _run(classifier: Classifier, pixels: torch.Tensor) -> None:
    for start in range(0, len(pixels), BATCH_SIZE):
        classifier.logits(pixels[start : start + BATCH_SIZE])


def _predict(classifier: Classifier, shard: Path, path: Path) -> None:
    _write(classifier.predict_files(read_shard(shard)), path)


def _write(answers: Iterable[Prediction | Unreadable], path: Path) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{json.dumps(answer_report(answer, TOP_K))}\n" for answer in answers)


def _time_in_turns(parts: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in parts}
    for round_ in range(runs + 1):  # the first is not counted: memory is asked for, and kernels are chosen
        for name, part in parts.items():
            started = time.process_time()  # of this process alone: others may be at work
            part()
            if round_:
                times[name].append(time.process_time() - started)
    return times


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
