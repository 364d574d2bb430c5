"""How much each layer knows: a linear probe fitted on its representations, and the accuracy that it reaches.

A probe is a single linear layer. Where it reads digits well, the layer below has brought them apart; that it does
better from layer to layer is what a network learns to do.
Source: Alain and Bengio, "Understanding intermediate layers using linear classifier probes" (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from digitnet.config import NUM_CLASSES
from digitnet.explain.trace import Representation
from digitnet.metrics import wilson_interval

PENALTY = 0.001  # of the mean square of the features, for each image: the same strength for layers of any scale


@dataclass(frozen=True, kw_only=True, eq=False)
class Ridge:
    """Ten linear functions fitted to targets of 0 and 1 by least squares, with a penalty on the weights' squares."""

    weights: Tensor
    """(F, 10) float64."""
    bias: Tensor
    """(10,) float64."""

    def predict(self, features: Tensor) -> Tensor:
        """Return the digit, (N,) int64, whose function is the highest for features (N, F)."""
        return (features.double() @ self.weights + self.bias).argmax(1)


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """How well the digits can be read from one representation by a linear layer."""

    name: str
    """Of the representation, as ``Representation.name``."""
    shape: tuple[int, ...]
    """Of the representation of one image."""
    pooled: tuple[int, ...] | None
    """The shape after averaging, where the probe got fewer numbers than the layer makes; else None."""
    fitted: int
    """Images that the probe was fitted on."""
    measured: int
    """Other images, that it was measured on."""
    correct: int

    @property
    def accuracy(self) -> float:
        """Share of the measured images that it read rightly, in [0, 1]."""
        return self.correct / self.measured

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the accuracy."""
        return wilson_interval(self.correct, self.measured)


def probe_layers(
    fit: Sequence[Representation], fit_targets: Tensor, measure: Sequence[Representation], measure_targets: Tensor
) -> tuple[ProbeResult, ...]:
    """Fit a probe on each representation of some images, and measure it on the same representation of others.

    Args:
        fit: What ``represent`` made of the images to fit on.
        fit_targets: Their digits, (N,) int64.
        measure: What it made of the images to measure on.
        measure_targets: Their digits, (M,) int64.
    """
    return tuple(_probe(some, fit_targets, others, measure_targets) for some, others in zip(fit, measure, strict=True))


def _probe(fit: Representation, fit_targets: Tensor, measure: Representation, measure_targets: Tensor) -> ProbeResult:
    size = scale(fit.features)  # of deep layers, numbers can be too small to be squared
    features = fit.features / size
    preds = fit_ridge(features, fit_targets, penalty(features)).predict(measure.features / size)
    return ProbeResult(
        name=fit.name,
        shape=fit.shape,
        pooled=fit.pooled,
        fitted=len(fit_targets),
        measured=len(measure_targets),
        correct=int((preds == measure_targets).sum()),
    )


def scale(features: Tensor) -> float:
    """Return the standard deviation of all numbers of features (N, F) about their column's mean; 1 where it is 0."""
    centred = features.double() - features.double().mean(0)
    return centred.square().mean().sqrt().item() or 1.0


def penalty(features: Tensor) -> float:
    """Return the weight of the penalty for features (N, F): ``PENALTY`` times the sum of their squares, centred."""
    centred = features - features.mean(0)
    return max(PENALTY * centred.square().sum().item(), 1e-9)  # features that are all alike have none


def fit_ridge(features: Tensor, targets: Tensor, alpha: float) -> Ridge:
    """Fit ten linear functions by least squares with a penalty.

    It is solved by normal equations: of as many unknowns as there are features, or images, whichever are fewer.
    Source: Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning" (2009), 3.4.1 and 18.3.5.

    Args:
        features: (N, F) float32.
        targets: Digits, (N,) int64.
        alpha: Weight of the sum of squares of the weights, above 0; the biases are free.
    """
    mean = features.mean(0)
    x, y = features - mean, F.one_hot(targets, NUM_CLASSES).double()
    centred = y - y.mean(0)
    if x.shape[1] <= len(x):
        weights = _solve((x.T @ x).double(), x.double().T @ centred, alpha)
    else:
        weights = x.double().T @ _solve((x @ x.T).double(), centred, alpha)
    return Ridge(weights=weights, bias=y.mean(0) - mean.double() @ weights)


def _solve(gram: Tensor, right: Tensor, alpha: float) -> Tensor:
    """Solve (gram + alpha I) w = right by Cholesky's factorisation."""
    gram.diagonal().add_(alpha)
    return torch.cholesky_solve(right, torch.linalg.cholesky(gram))
