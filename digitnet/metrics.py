"""What an evaluation counts: loss, the confusion matrix, and the figures that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from digitnet.config import NUM_CLASSES

Z_95 = 1.959963984540054  # the normal distribution's 97.5th percentile


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How well one digit is told from the others; each in [0, 1], and 0 where there is nothing to divide by."""

    precision: float
    """Of the images called this digit, the share that is one."""
    recall: float
    """Of the images of this digit, the share that is called so."""
    f1: float
    """The harmonic mean of the two."""
    support: int
    """Images of this digit."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What a network made of a set of labelled images."""

    loss: float
    """Mean over the images."""
    confusion: tuple[tuple[int, ...], ...]
    """Images by digit (row) and by prediction (column), 10 by 10."""

    @property
    def count(self) -> int:
        """Images counted."""
        return sum(map(sum, self.confusion))

    @property
    def correct(self) -> int:
        """Images whose prediction is their digit."""
        return sum(self.confusion[k][k] for k in range(NUM_CLASSES))

    @property
    def accuracy(self) -> float:
        """Share of correct predictions, in [0, 1]."""
        return self.correct / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the accuracy."""
        return wilson_interval(self.correct, self.count)

    @property
    def per_digit(self) -> tuple[Scores, ...]:
        """Precision, recall and F1 of each digit from 0 to 9."""
        return tuple(self._scores(k) for k in range(NUM_CLASSES))

    def _scores(self, digit: int) -> Scores:
        right = self.confusion[digit][digit]
        support = sum(self.confusion[digit])
        called = sum(row[digit] for row in self.confusion)
        return Scores(
            precision=right / called if called else 0.0,
            recall=right / support if support else 0.0,
            f1=2 * right / (called + support) if called + support else 0.0,
            support=support,
        )


def confusion_counts(preds: Tensor, targets: Tensor) -> Tensor:
    """Count predictions by target: preds and targets, (N,) int64, to (10, 10) int64, on their device."""
    pairs = targets * NUM_CLASSES + preds
    counts = pairs.new_zeros(NUM_CLASSES**2).index_add_(0, pairs, torch.ones_like(pairs))  # bincount waits for a GPU
    return counts.view(NUM_CLASSES, NUM_CLASSES)


def standard_error(share: float, count: int) -> float:
    """Return the standard error of a share of ``count`` images."""
    return math.sqrt(share * (1 - share) / count)


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share, in [0, 1].

    Source: Wilson, "Probable inference, the law of succession, and statistical inference" (1927). Unlike the normal
    approximation, it stays within [0, 1] and is not empty at 0 or 100 per cent.
    """
    share, z2 = correct / count, Z_95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    margin = Z_95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, centre - margin), min(1.0, centre + margin)
