"""How much a picture is like a digit: the score by which pictures are turned away, and what turning away gains.

What threshold stands for what share of real digits is fitted in ``calibration.py`` and stored in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

# Closely spaced where thresholds are asked for, since between two of them one is read off a straight line.
RATES = (*(k / 1000 for k in range(21)), *(k / 100 for k in range(3, 10)), *(k / 10 for k in range(1, 11)))


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What score turns away what share of real digits."""

    rates: tuple[float, ...]
    """Shares turned away, rising from 0 to 1."""
    scores: tuple[float, ...]
    """For each rate, the score of which at most that share of real digits stays below."""

    def __post_init__(self) -> None:
        """Check what may come from a file.

        Raises:
            ValueError: The rates do not rise from 0 to 1, or the scores are not as many or fall.
        """
        ends = (self.rates[:1], self.rates[-1:])
        if ends != ((0.0,), (1.0,)) or not all(a < b for a, b in pairwise(self.rates)):
            raise ValueError(f"rates do not rise from 0 to 1: {self.rates}")
        if len(self.scores) != len(self.rates) or not all(a <= b for a, b in pairwise(self.scores)):
            raise ValueError(f"scores are not one for each rate, or fall: {self.scores}")

    def score(self, reject_rate: float) -> float:
        """Return the score that a picture needs where a share of real digits, in [0, 1], may be turned away.

        It is infinitely low for 0, which turns nothing away, and infinitely high for 1, which turns everything away.

        Raises:
            ValueError: The share is not in [0, 1].
        """
        if not 0 <= reject_rate <= 1:
            raise ValueError(f"a share to turn away is from 0 to 1, not {reject_rate}")
        if reject_rate in (0, 1):
            return float("-inf" if reject_rate == 0 else "inf")
        k = next(k for k, rate in enumerate(self.rates) if rate >= reject_rate)
        share = (reject_rate - self.rates[k - 1]) / (self.rates[k] - self.rates[k - 1])
        return (1 - share) * self.scores[k - 1] + share * self.scores[k]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What turning pictures away comes to on a set of labelled images."""

    reject_rate: float
    """Share of validation digits that the threshold turns away."""
    answered: int
    """Images that are answered."""
    errors: int
    """Those of them whose answer is wrong."""
    coverage: float
    """Share of the images that is answered, in [0, 1]."""
    accuracy: float | None
    """Share of right answers among the answered; None where none is."""


def digit_score(logits: Tensor) -> Tensor:
    """Score how much each image is like a digit: the logits' log-sum-exp, which is the negative of their energy.

    Checkpoints store what real digits score. Whoever puts another score here raises ``checkpoint.FORMAT``. Of ten that
    follow from the logits alone, this and the highest logit told foreign letters from digits best, by the area under
    the ROC curve, for networks trained without label smoothing; with it, the entropy of the probabilities did.

    Args:
        logits: (N, 10), divided by the temperature.

    Returns:
        (N,) float64; higher is more like a digit.

    Source: Liu et al., "Energy-based Out-of-distribution Detection" (2020), section 3.1.
    """
    return logits.double().logsumexp(1)


def fit_thresholds(scores: Tensor) -> Thresholds:
    """Find the thresholds for ``RATES`` from the scores of real digits, (N,), none of them trained on."""
    rates = torch.tensor(RATES, dtype=torch.float64, device=scores.device)
    # The lower of two neighbours: of few digits, too, no more than the rate stay below.
    found = scores.double().quantile(rates, interpolation="lower")
    return Thresholds(rates=RATES, scores=tuple(found.tolist()))


def coverages(scores: Tensor, right: Tensor, thresholds: Thresholds, rates: Sequence[float]) -> tuple[Coverage, ...]:
    """Count what is answered, and how much of that is right, at each share of real digits turned away.

    Args:
        scores: (N,), of ``digit_score``.
        right: (N,) bool, whether each image's likeliest digit is its digit.
        thresholds: From the network's calibration.
        rates: Shares in [0, 1].
    """
    rows = []
    for rate in rates:
        accepted = scores >= thresholds.score(rate)
        answered, errors = int(accepted.sum()), int((accepted & ~right).sum())
        rows.append(
            Coverage(
                reject_rate=rate,
                answered=answered,
                errors=errors,
                coverage=answered / len(scores),
                accuracy=1 - errors / answered if answered else None,
            )
        )
    return tuple(rows)


def auroc(digits: Tensor, others: Tensor) -> float:
    """Return the area under the ROC curve: how often a digit, (N,), scores above something else, (M,).

    A tie counts half. 0.5 is no better than chance.

    Source: Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic curve"
    (1982): it is the Mann-Whitney statistic.
    """
    others = others.sort().values
    below = torch.searchsorted(others, digits).sum().item()
    up_to = torch.searchsorted(others, digits, right=True).sum().item()
    return (below + up_to) / 2 / (len(digits) * len(others))
