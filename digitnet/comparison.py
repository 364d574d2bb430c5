"""Two networks on the same images: how often only one of them is right, and whether that may be chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

SIGNIFICANT = 0.05  # by custom: where chance alone makes such a difference less often than that, it is called real
EXACT_UP_TO = 20_000  # binomial coefficients of more than that are too long to be quick


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How many of the same images two networks read rightly."""

    both: int
    """Images that both read rightly."""
    only_this: int
    """Images that only the first network reads rightly."""
    only_other: int
    """Images that only the second network reads rightly."""
    neither: int
    """Images that neither reads rightly."""

    @property
    def count(self) -> int:
        """Images compared."""
        return self.both + self.only_this + self.only_other + self.neither

    @property
    def accuracy(self) -> float:
        """The first network's share of right answers, in [0, 1]."""
        return (self.both + self.only_this) / self.count

    @property
    def other_correct(self) -> int:
        """Images that the second network reads rightly."""
        return self.both + self.only_other

    @property
    def other_accuracy(self) -> float:
        """The second network's share of right answers, in [0, 1]."""
        return self.other_correct / self.count

    @property
    def p_value(self) -> float:
        """How often chance alone would make a difference at least as large, in [0, 1]; see ``mcnemar_p_value``."""
        return mcnemar_p_value(self.only_this, self.only_other)

    @property
    def significant(self) -> bool:
        """Whether the difference is unlikely to be chance."""
        return self.p_value < SIGNIFICANT

    @property
    def conclusion(self) -> str:
        """What follows, in words."""
        if self.only_this == self.only_other:
            return "neither network is better on these images"
        better = "this" if self.only_this > self.only_other else "the other"
        if not self.significant:
            return f"no clear difference: that {better} network reads more of them may be chance"
        return f"{better} network is better, which is unlikely to be chance"


def compare(logits: Tensor, other_logits: Tensor, targets: Tensor) -> Comparison:
    """Count what two networks make of the same images: logits (N, 10) and targets (N,) int64, on one device."""
    right, other_right = logits.argmax(1) == targets, other_logits.argmax(1) == targets
    pairs = (right & other_right, right & ~other_right, ~right & other_right, ~(right | other_right))
    both, only_this, only_other, neither = (int(pair.sum()) for pair in pairs)
    return Comparison(both=both, only_this=only_this, only_other=only_other, neither=neither)


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Return McNemar's exact two-sided p-value for two networks that disagree on some images.

    Were neither better, each image that only one of them reads rightly would be a fair coin's throw. This is how
    often such throws come out at least as far from even.

    Args:
        only_first: Images that only the first network reads rightly.
        only_second: Images that only the second reads rightly.

    Returns:
        In [0, 1]; 1 where there are no such images.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages"
    (1947), with the binomial distribution instead of its chi-squared approximation.
    """
    throws, fewer = only_first + only_second, min(only_first, only_second)
    if only_first == only_second:
        return 1.0
    # From the likeliest count down, each is the last times a ratio below 1; the rest is lost in rounding.
    term = tail = 1.0
    for count in range(fewer, 0, -1):
        term *= count / (throws - count + 1)
        tail += term
        if term < 1e-17 * tail:
            break
    return min(1.0, 2 * tail * _coin_probability(throws, fewer))


def _coin_probability(throws: int, heads: int) -> float:
    """Return how often so many throws of a fair coin show exactly so many heads, in [0, 1]."""
    if throws <= EXACT_UP_TO:
        return math.comb(throws, heads) / (1 << throws)  # whole numbers, rounded once
    log_ways = math.lgamma(throws + 1) - math.lgamma(heads + 1) - math.lgamma(throws - heads + 1)
    return math.exp(log_ways - throws * math.log(2))
