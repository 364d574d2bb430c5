"""The losses: how wrong logits are about their targets. Each is a mean over the batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from digitnet.config import LossName

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Logits (N, classes) float and targets (N,) int64 to a loss, (). There are ten classes but where one explains."""

NONDIGIT_WEIGHT = 1.0  # of telling digits from the rest, beside telling them from each other


def build_loss(name: LossName, label_smoothing: float = 0.0) -> LossFunction:
    """Build a loss function.

    cross-entropy: minus the log of the probability that softmax gives the target.
    bce: each class as a yes-or-no question of its own, binary cross-entropy summed over the classes. Softmax of
    logits trained so is the probability of each class given that exactly one of the answers is yes.
    mse, mae: squared and absolute difference between softmax probabilities and the one-hot target, summed over the
    classes (the first is the Brier score).
    """
    match name:
        case "cross-entropy":
            return partial(F.cross_entropy, label_smoothing=label_smoothing)
        case "bce":
            return partial(_bce, label_smoothing=label_smoothing)
        case "mse":
            return _mse
        case "mae":
            return _mae


def weighted(loss_fn: LossFunction, weight: float) -> LossFunction:
    """Multiply a loss: a part of a batch counts for what it is of the whole."""
    return lambda logits, targets: loss_fn(logits, targets) * weight


def with_nondigits(loss_fn: LossFunction, weight: float = 1.0) -> LossFunction:
    """Add to a loss over digits the telling of digits from the rest, for logits (N + M, 10) whose last M are no digits.

    Softmax takes no notice of the level of an image's logits, log sum exp. Here it answers a question of its own, by
    binary cross-entropy: is this a digit? So what is no digit never pulls at the probabilities. The weight is that
    of the telling.

    Source: Liu et al., "Energy-based out-of-distribution detection" (2020); Hendrycks et al., "Deep anomaly detection
    with outlier exposure" (2019), for training on drawings that stand for all that may come.
    """

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        level = logits.logsumexp(1)
        is_digit = (torch.arange(len(logits), device=logits.device) < len(targets)).to(logits.dtype)
        telling = F.binary_cross_entropy_with_logits(level, is_digit)
        return loss_fn(logits[: len(targets)], targets) + weight * NONDIGIT_WEIGHT * telling

    return loss


def _one_hot(logits: Tensor, targets: Tensor) -> Tensor:
    return F.one_hot(targets, logits.shape[1]).to(logits.dtype)


def _bce(logits: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
    # As in cross-entropy: a share of the target is spread evenly over all classes.
    soft = _one_hot(logits, targets) * (1 - label_smoothing) + label_smoothing / logits.shape[1]
    return F.binary_cross_entropy_with_logits(logits, soft, reduction="sum") / len(targets)


def _mse(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.softmax(1) - _one_hot(logits, targets)).square().sum(1).mean()


def _mae(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.softmax(1) - _one_hot(logits, targets)).abs().sum(1).mean()
