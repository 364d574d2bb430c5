"""How sure a network may say it is: the temperature, and how far its probabilities are from what comes true."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from digitnet.rejection import Thresholds, digit_score, fit_thresholds

BINS = 15  # as Guo et al. (2017), section 4
# Inverse temperatures beyond these would say nothing more: all digits alike, or no doubt at all.
LOWEST, HIGHEST = 0.01, 100.0
# How far from 1 an inverse temperature may be before images have spoken. The 18 errors among the standard CNN's 5,000
# validation images leave it uncertain by 0.11. Of 1, 0.3, 0.1 and nearly 0, this did best, or nearly so, for each of
# seven networks in two-fold cross-validation on validation images, by the likelihood of the half left out.
PRIOR_STD = 0.3
NEWTON_STEPS = 50
TOLERANCE = 1e-5  # each of Newton's steps squares the error: the last one leaves some 1e-10


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What validation images say of a network's answers, to be used with each of them."""

    temperature: float
    """What logits are divided by before they become probabilities, 0.01 to 100; above 1 makes a network less sure."""
    thresholds: Thresholds
    """What score a picture needs to be taken for a digit."""

    def __post_init__(self) -> None:
        """Check what may come from a file.

        Raises:
            ValueError: The temperature is none that could have been fitted.
        """
        if not 1 / HIGHEST <= self.temperature <= 1 / LOWEST:  # false for NaN, too
            raise ValueError(f"temperature is {self.temperature}")


@dataclass(frozen=True, kw_only=True)
class ConfidenceBin:
    """The images whose answers are about equally sure."""

    low: float
    """The bin's bounds; a confidence that is one of them belongs to the bin below."""
    high: float
    count: int
    confidence: float
    """Mean probability of the likeliest digit."""
    accuracy: float
    """Share of the images whose likeliest digit is the right one."""


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How far a network is as sure as it is right."""

    bins: tuple[ConfidenceBin, ...]
    """Those of 15 equal parts of [0, 1] that hold an answer, least sure first."""

    @property
    def error(self) -> float:
        """Expected calibration error: the distance of confidence and accuracy in a bin, weighed by its images.

        Source: Guo et al., "On Calibration of Modern Neural Networks" (2017), equation 3.
        """
        total = sum(b.count for b in self.bins)
        return sum(b.count / total * abs(b.accuracy - b.confidence) for b in self.bins)


def fit_calibration(logits: Tensor, targets: Tensor) -> Calibration:
    """Fit what a checkpoint stores: logits (N, 10) of validation images, and their targets (N,) int64."""
    temperature = fit_temperature(logits, targets)
    return Calibration(temperature=temperature, thresholds=fit_thresholds(digit_score(logits.double() / temperature)))


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Find the temperature under which the targets are likeliest.

    It is 1 / b for the b that makes N times the cross-entropy of b * logits smallest, with a normal prior on b around
    1. Without that, a network that reads all of a few images right would be called certain of everything.

    Args:
        logits: (N, 10) of images that the network was not trained on.
        targets: (N,) int64.

    Source: Guo et al., "On Calibration of Modern Neural Networks" (2017), section 4.2. The objective is convex in b,
    so Newton's method needs but a bracket to be safe.
    """
    logits = logits.double()
    logits = logits - logits.gather(1, targets[:, None])  # so that the target's own logit is 0
    low, high, inverse = LOWEST, HIGHEST, 1.0
    for _ in range(NEWTON_STEPS):
        slope, curvature = _derivatives(logits, inverse)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        last, inverse = inverse, inverse - slope / curvature
        if not low <= inverse <= high:
            inverse = (low + high) / 2
        if abs(inverse - last) < TOLERANCE * last:
            break
    return 1 / inverse


def _derivatives(logits: Tensor, inverse: float) -> tuple[float, float]:
    """Return the objective's first two derivatives by b: sums of the logits' mean and variance, and the prior's."""
    probs = (logits * inverse).softmax(1)
    mean = torch.linalg.vecdot(probs, logits)[:, None]
    variance = torch.linalg.vecdot(probs, (logits - mean).square())
    precision = PRIOR_STD**-2
    return mean.sum().item() + (inverse - 1) * precision, variance.sum().item() + precision


def reliability(probs: Tensor, targets: Tensor) -> Reliability:
    """Gather answers by how sure they are, and count how many of them are right.

    Args:
        probs: (N, 10), each row a sum of 1.
        targets: (N,) int64, on the same device.
    """
    confidence, preds = probs.double().max(1)
    bounds = torch.arange(BINS + 1, dtype=torch.float64, device=probs.device) / BINS
    place = torch.bucketize(confidence, bounds[1:-1])  # a bound belongs to the bin below it
    right = (preds == targets).double()
    counts = torch.bincount(place, minlength=BINS)
    sums = (torch.bincount(place, weights, minlength=BINS) for weights in (confidence, right))
    rows = zip(bounds.tolist(), bounds[1:].tolist(), counts.tolist(), *(s.tolist() for s in sums), strict=False)
    return Reliability(
        bins=tuple(
            ConfidenceBin(low=low, high=high, count=count, confidence=sure / count, accuracy=correct / count)
            for low, high, count, sure, correct in rows
            if count
        )
    )
