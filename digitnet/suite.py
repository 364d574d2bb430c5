"""The harder test: MNIST's test images, changed copies of them, and other sets, read by one network or by two."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean

import torch

from digitnet.comparison import Comparison, compare
from digitnet.data.digits import Digits
from digitnet.data.variants import VARIANTS, Variant, vary
from digitnet.evaluation import count, logits_of
from digitnet.losses import LossFunction
from digitnet.metrics import Metrics
from digitnet.models import DigitNet


@dataclass(frozen=True, kw_only=True)
class SuiteRow:
    """What was counted on one set of the suite."""

    name: str
    """mnist, a variant's name, strokes, or the path of a folder."""
    split: str
    """Which part of the data set it is; test, but for what a network was partly trained on."""
    variant: Variant | None
    """How MNIST's images were changed; None for images as they are."""
    metrics: Metrics
    """Of the network."""
    comparison: Comparison | None
    """With the other network, where there is one."""
    elapsed_s: float
    """Time to change the images and to read them, by both networks."""

    @property
    def label(self) -> str:
        """What a table calls it."""
        return _label(self.name, self.split)


def _label(name: str, split: str) -> str:
    return name if split == "test" else f"{name}, {split}"


def suite_rows(
    mnist: Digits,
    others: Sequence[tuple[Digits, str]],
    loss_fn: LossFunction,
    model: DigitNet,
    other: DigitNet | None = None,
    dtype: torch.dtype = torch.float32,
) -> Iterator[SuiteRow]:
    """Evaluate a network on MNIST as it is, on each changed copy, and on the other sets, in this order.

    Args:
        mnist: On the CPU, as are the others.
        others: Sets to read as they are, each with its split's name.
        loss_fn: The network's loss.
        model: The network; its device is where all is read.
        other: A second network on that device, to compare with.
        dtype: What matrix products run in.
    """
    device = next(model.parameters()).device
    plain = ((digits, split, None) for digits, split in others)
    for digits, split, variant in chain([(mnist, "test", None)], ((mnist, "test", v) for v in VARIANTS), plain):
        started = time.perf_counter()
        images = (vary(digits.images, variant) if variant else digits.images).to(device)
        targets = digits.targets.to(device)
        logits = logits_of(model, images, dtype)
        yield SuiteRow(
            name=variant.name if variant else digits.name,
            split=split,
            variant=variant,
            metrics=count(logits, targets, loss_fn),
            comparison=compare(logits, logits_of(other, images, dtype), targets) if other else None,
            elapsed_s=time.perf_counter() - started,
        )


def suite_labels(others: Sequence[tuple[Digits, str]]) -> list[str]:
    """Name the rows, as a table does, before they are there, so that a table knows its width."""
    return ["mnist", *(variant.name for variant in VARIANTS), *(_label(digits.name, split) for digits, split in others)]


def mean_of_copies(rows: Sequence[SuiteRow]) -> tuple[float, float | None]:
    """Average the accuracy over the changed copies, each counting the same; sets read as they are stay out of it.

    Returns:
        The network's mean, in [0, 1], and the other network's, or None without one.
    """
    copies = [row for row in rows if row.variant]
    other = [row.comparison.other_accuracy for row in copies if row.comparison]
    return fmean(row.metrics.accuracy for row in copies), fmean(other) if other else None
