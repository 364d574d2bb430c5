"""The digits that a picture is compared with, and that probes are fitted and measured on. No test digits are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from digitnet.checkpoint import TrainingRecord
from digitnet.data.digits import Digits, fingerprint
from digitnet.data.load import load_training
from digitnet.data.strokes import draw_strokes

FIT_SIZE = 2_500
MEASURE_SIZE = 2_000
MEASURE_SEED = 4  # of a stream of strokes that no training, test or validation draws from


@dataclass(frozen=True, kw_only=True, eq=False)
class References:
    """Labelled digits in two parts, none of them test digits."""

    name: str
    """mnist, strokes, or the path of a folder."""
    fit: Digits
    """At most ``FIT_SIZE`` of the training digits."""
    measure: Digits
    """At most ``MEASURE_SIZE`` others, on which no network was trained."""


def load_references(record: TrainingRecord, data_dir: Path | None) -> References:
    """Take some of what trained a network, and some of what was kept for its validation.

    Raises:
        DataError: The data set is missing or damaged.
        UsageError: There is a data_dir, and the data set is not mnist.
    """
    if record.dataset == "strokes":
        return stroke_references()
    fit, measure = load_training(record.dataset, data_dir=data_dir, size=min(FIT_SIZE, record.train_size))
    return References(name=fit.name, fit=fit, measure=measure.take(torch.arange(min(MEASURE_SIZE, len(measure)))))


def stroke_references() -> References:
    """Draw the digits that are built in: training strokes, and others from a stream of their own."""
    fit, _ = load_training("strokes", size=FIT_SIZE)
    images, targets = draw_strokes(MEASURE_SIZE, seed=MEASURE_SEED)
    measure = Digits(name="strokes", images=images, targets=targets, fingerprint=fingerprint(images, targets))
    return References(name="strokes", fit=fit, measure=measure)
