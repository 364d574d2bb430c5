"""Damaged and hostile files of every kind that digitnet reads, through what a person reaches."""

from __future__ import annotations

import contextlib
import gzip
import io
import random
import time
from functools import cache
from pathlib import Path

import numpy as np

from digitnet.console.networks import print_info
from digitnet.data.folder import load_folder
from digitnet.pictures import read_prepared
from digitnet.predictor import Classifier
from digitnet.runs import read_config
from digitnet.summary import summarise
from torture import samples
from torture.lies import lie_in_checkpoint, lie_in_idx, lie_in_picture, lie_in_toml
from torture.mutations import mutate
from torture.outcome import Outcome
from torture.watch import Files, Ordeal, Stood, undergo

BOMB_SHARE = 0.001
BOMB_IMAGES = 500_000  # 0.4 GB


def pictures(trials: int, seed: int) -> Outcome:
    """Read damaged pictures: so many of each format."""
    started = time.perf_counter()
    stood = {kind: undergo(_picture_ordeal(kind), trials, seed) for kind in samples.FORMATS}
    figures = {f"{kind}_{name}": value for kind, one in stood.items() for name, value in _figures(one).items()}
    return Outcome(
        name="pictures",
        trials=sum(one.trials for one in stood.values()),
        failures=tuple(failure for one in stood.values() for failure in one.failures),
        figures={
            "trials_of_each_format": trials,
            "longest_s": max(one.longest_s for one in stood.values()),
            "peak_mb": max(one.peak_mb for one in stood.values()),
            **figures,
        },
        elapsed_s=time.perf_counter() - started,
    )


def checkpoints(trials: int, seed: int) -> Outcome:
    """Load damaged checkpoints, and use and show those that can be."""
    return _outcome(Ordeal(name="checkpoints", make=make_checkpoint, attempt=use_checkpoint), trials, seed)


def idx_files(trials: int, seed: int) -> Outcome:
    """Load damaged IDX files, plain and compressed, as a data set."""
    _bomb()  # once, and not in each worker
    return _outcome(Ordeal(name="IDX files", make=make_idx, attempt=load_idx), trials, seed)


def toml_files(trials: int, seed: int) -> Outcome:
    """Read damaged configuration files."""
    return _outcome(Ordeal(name="TOML files", make=make_toml, attempt=read_toml), trials, seed)


def pickles(trials: int, seed: int) -> Outcome:
    """Give the commands pickles that do something when they are opened, under names of all kinds."""
    from torture.pickles import ORDEAL

    return _outcome(ORDEAL, trials, seed)


def _outcome(ordeal: Ordeal, trials: int, seed: int) -> Outcome:
    started = time.perf_counter()
    stood = undergo(ordeal, trials, seed)
    return Outcome(
        name=ordeal.name,
        trials=stood.trials,
        failures=stood.failures,
        figures=_figures(stood),
        elapsed_s=time.perf_counter() - started,
    )


def _figures(stood: Stood) -> dict[str, float]:
    return {"longest_s": stood.longest_s, "peak_mb": stood.peak_mb}


def _picture_ordeal(kind: str) -> Ordeal:
    suffix = {"JPEG": "jpg", "WebP": "webp", "TIFF": "tif", "PNM": "pgm"}.get(kind, kind.lower())

    def make(rng: random.Random) -> Files:
        return {f"five.{suffix}": make_picture(kind, rng)}

    def attempt(folder: Path) -> None:
        prepared = read_prepared(folder / f"five.{suffix}")
        assert prepared.pixels.shape == (28, 28), prepared.pixels.shape

    return Ordeal(name=f"pictures, {kind}", make=make, attempt=attempt)


def make_picture(kind: str, rng: random.Random) -> bytes:
    """Damage a picture, every third time in what its header says."""
    data = rng.choice(samples.pictures(kind))
    if rng.random() < 0.4:
        data = lie_in_picture(kind, data, rng)
        return mutate(data, rng) if rng.random() < 0.2 else data
    return mutate(data, rng)


def make_checkpoint(rng: random.Random) -> Files:
    """Damage a checkpoint: its header, its description, its weights, or any byte."""
    data = rng.choice(samples.checkpoints())
    if rng.random() < 0.7:
        return {"best.safetensors": lie_in_checkpoint(data, rng)}
    size = 8 + int.from_bytes(data[:8], "little")
    if rng.random() < 0.3:
        return {"best.safetensors": data[:size] + mutate(data[size:], rng)}
    return {"best.safetensors": mutate(data, rng)}


def use_checkpoint(folder: Path) -> None:
    """Load a network, show what it is made of, and let it read an image."""
    classifier = Classifier.load(folder / "best.safetensors")
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        print_info(classifier.checkpoint, summarise(classifier.model))
    assert all(c.isprintable() or c == "\n" for c in shown.getvalue()), "control characters reach the terminal"
    image = np.zeros((28, 28), np.uint8)
    image[6:22, 12:16] = 255
    (answer,) = classifier.predict([image])
    assert abs(sum(answer.probs) - 1) < 1e-3, answer


def make_idx(rng: random.Random) -> Files:
    """Damage images or labels in the IDX format, some of them compressed before or after."""
    images, labels = rng.choice(samples.idx_pairs())
    if rng.random() < BOMB_SHARE:
        many = samples.idx(0x801, (BOMB_IMAGES,), bytes(BOMB_IMAGES))
        return {"train-images-idx3-ubyte.gz": _bomb(), "train-labels-idx1-ubyte": rng.choice((labels, many))}
    packed = rng.random() < 0.4
    files = [images, labels]
    which = rng.randrange(2)
    files[which] = (lie_in_idx if rng.random() < 0.5 else mutate)(files[which], rng)
    if packed:
        files = [gzip.compress(data, 1) for data in files]
        if rng.random() < 0.4:
            files[which] = mutate(files[which], rng)
    end = ".gz" if packed else ""
    return {f"train-images-idx3-ubyte{end}": files[0], f"train-labels-idx1-ubyte{end}": files[1]}


def load_idx(folder: Path) -> None:
    """Load a folder as a data set."""
    digits = load_folder(folder, "train")
    assert digits.images.shape[1:] == (1, 28, 28)
    assert len(digits.images) == len(digits.targets)


@cache
def _bomb() -> bytes:
    """Compress half a million black images, as the header says, into less than a megabyte."""
    head = samples.idx(0x803, (BOMB_IMAGES, 28, 28), b"")
    block = gzip.compress(bytes(28 * 28 * 10_000), 9)
    return gzip.compress(head, 9) + block * (BOMB_IMAGES // 10_000)


def make_toml(rng: random.Random) -> Files:
    """Damage a configuration file: a value, a line, or any byte."""
    data = rng.choice(samples.configs())
    return {"config.toml": lie_in_toml(data, rng) if rng.random() < 0.7 else mutate(data, rng)}


def read_toml(folder: Path) -> None:
    """Read a configuration."""
    assert read_config(folder / "config.toml").train.batch_size >= 1
