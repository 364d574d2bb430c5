"""Which data set a name stands for: mnist, strokes, or a folder of pictures, IDX files or tar shards."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from digitnet.config import MAX_DRAWN
from digitnet.data.digits import VALIDATION_SIZE, Digits, fingerprint, split, validation_size
from digitnet.data.idx import Part
from digitnet.data.mnist import load_mnist
from digitnet.errors import DataError, UsageError

STROKES_SIZES: dict[Part, int] = {"train": 60_000, "test": 10_000}  # as many as MNIST has
STROKES_SEEDS: dict[Part, int] = {"train": 1, "test": 2}
MOST_TURNED = 60_000  # digits of a set of shards that drawings are made from
EXTRA_SEED = 3  # of the streams that are added to a training set


def load_digits(dataset: str, part: Part, *, data_dir: Path | None = None, size: int | None = None) -> Digits:
    """Load a part of a data set.

    Args:
        dataset: mnist, strokes, or the path of a folder.
        part: train or test.
        data_dir: Where MNIST's files are; None is ``DIGITNET_DATA_DIR``, else the cache or a download.
        size: How many strokes to draw; None is 60,000 for training and 10,000 for testing.

    Raises:
        DataError: The data set is missing or damaged.
        UsageError: There is a data_dir, and the data set is not mnist.
    """
    if dataset != "mnist" and data_dir is not None:
        raise UsageError(f"--data-dir says where MNIST is, and the data set is {dataset}")
    if dataset == "mnist":
        chosen = data_dir or (Path(found) if (found := os.environ.get("DIGITNET_DATA_DIR")) else None)
        return load_mnist(part, chosen)
    if dataset == "strokes":
        return _draw(part, size or STROKES_SIZES[part])
    from digitnet.data.folder import load_folder
    from digitnet.data.shard_set import find_shards, load_shards

    folder = Path(dataset)
    return load_shards(folder, shards) if (shards := find_shards(folder, part)) else load_folder(folder, part)


def has_test_part(dataset: str) -> bool:
    """Say whether a data set has images to test on, apart from those to train on."""
    if dataset in ("mnist", "strokes"):
        return True
    from digitnet.data.folder import has_test_folder

    return has_test_folder(Path(dataset))


def load_training(dataset: str, *, data_dir: Path | None = None, size: int | None = None) -> tuple[Digits, Digits]:
    """Load a training part, cut into training and validation digits.

    Args:
        dataset: As for ``load_digits``.
        data_dir: As for ``load_digits``.
        size: Keep only so many training images (validation stays whole); None keeps all.

    Raises:
        DataError: The data set is missing, damaged, or too small.
    """
    if size is not None and size > MAX_DRAWN and dataset == "strokes":
        raise DataError(f"of strokes, at most {MAX_DRAWN:,} digits can be drawn, not {size:,}")
    drawn = max(10, size + min(VALIDATION_SIZE, size // 9 + 1)) if size and dataset == "strokes" else None
    whole = load_digits(dataset, "train", data_dir=data_dir, size=drawn)
    available = len(whole) - validation_size(len(whole))
    if available == len(whole):
        raise DataError(f"{whole.name}: {len(whole)} digits are too few to train on: at least 10 are needed")
    if size is not None and size > available:
        raise DataError(f"{whole.name} has {available:,} images to train on beside those for validation, not {size:,}")
    if whole.mapped:
        from digitnet.data.shard_set import split_shards

        return split_shards(whole, size)
    return split(whole, size)


def add_strokes(digits: Digits, count: int) -> Digits:
    """Add so many digits drawn from strokes to a training set; its name and fingerprint stay. 0 adds none.

    Raises:
        UsageError: The set is one of shards, which is not held in memory.
    """
    if count == 0:
        return digits
    if digits.mapped:
        raise UsageError(f"{digits.name} is a set of shards, to which no strokes are added; give --extra-strokes 0")
    from digitnet.data.strokes import draw_strokes

    images, targets = draw_strokes(count, seed=EXTRA_SEED)
    return replace(digits, images=torch.cat([digits.images, images]), targets=torch.cat([digits.targets, targets]))


def load_nondigits(digits: Digits, count: int) -> Tensor:
    """Draw images of what are no digits, (count, 1, 28, 28) uint8, some of them made from the digits given."""
    from digitnet.data.nondigits import draw_nondigits

    if digits.mapped and len(digits) > MOST_TURNED:
        from digitnet.data.shard_set import spread

        digits = digits.take(spread(len(digits), MOST_TURNED))
    return draw_nondigits(count, digits.images, digits.targets, seed=EXTRA_SEED)


def _draw(part: Part, count: int) -> Digits:
    from digitnet.data.strokes import draw_strokes

    images, targets = draw_strokes(count, seed=STROKES_SEEDS[part])
    return Digits(name="strokes", images=images, targets=targets, fingerprint=fingerprint(images, targets))
