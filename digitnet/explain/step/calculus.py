"""Activations and losses with their derivatives, each as one would write it on paper, in float64 and NumPy alone.

Nothing here knows of autograd, so that each can be compared with the other.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from digitnet.config import ActivationName, LossName

Array = npt.NDArray[np.float64]


def activate(z: Array, name: ActivationName) -> Array:
    """Apply an activation to each number."""
    match name:
        case "relu":
            return np.maximum(z, 0.0)
        case "gelu":
            return z * _normal_share(z)
        case "silu":
            return z * sigmoid(z)
        case "tanh":
            return np.tanh(z)
        case "sigmoid":
            return sigmoid(z)
        case "identity":
            return z.copy()


def slope(z: Array, name: ActivationName) -> Array:
    """Return an activation's derivative at each number; ReLU's at 0 is 0, as in PyTorch."""
    match name:
        case "relu":
            return (z > 0).astype(np.float64)
        case "gelu":
            return _normal_share(z) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        case "silu":
            return sigmoid(z) * (1 + z * (1 - sigmoid(z)))
        case "tanh":
            return 1 - np.tanh(z) ** 2
        case "sigmoid":
            return sigmoid(z) * (1 - sigmoid(z))
        case "identity":
            return np.ones_like(z)


def _normal_share(z: Array) -> Array:
    """Return the share of a normal distribution that lies below z, by which GELU multiplies z."""
    share: Array = 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(z / math.sqrt(2)))
    return share


def sigmoid(z: Array) -> Array:
    """Bring each number into (0, 1)."""
    return 0.5 * (1 + np.tanh(z / 2))  # 1 / (1 + exp(-z)), without overflow


def softmax(logits: Array) -> Array:
    """Bring each row, (N, classes), to probabilities that add up to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def probabilities(logits: Array, loss: LossName) -> Array:
    """Turn logits into what the loss compares with the targets: for bce a sigmoid of each, else the softmax."""
    return sigmoid(logits) if loss == "bce" else softmax(logits)


def image_losses(probs: Array, targets: Array, loss: LossName) -> Array:
    """Compute the loss of each image, (N,); the batch's loss is their mean.

    Args:
        probs: (N, classes).
        targets: (N, classes), one-hot.
        loss: Which.

    Returns:
        The losses; infinite where the true probability is so small that it is 0 in float64.
    """
    match loss:
        case "cross-entropy":
            found: Array = _minus_log((targets * probs).sum(axis=1))
        case "bce":
            found = _minus_log(np.where(targets == 1, probs, 1 - probs)).sum(axis=1)
        case "mse":
            found = ((probs - targets) ** 2).sum(axis=1)
        case "mae":
            found = np.abs(probs - targets).sum(axis=1)
    return found


def _minus_log(probs: Array) -> Array:
    with np.errstate(divide="ignore"):  # which gives infinity, as it should
        found: Array = -np.log(probs) + 0.0  # which makes 0 of -0
    return found


def probability_gradient(probs: Array, targets: Array, loss: LossName) -> Array:
    """Return the derivative of the batch's loss by each probability, (N, classes)."""
    count = len(probs)
    match loss:
        case "cross-entropy":
            return -targets / probs / count
        case "bce":
            return ((1 - targets) / (1 - probs) - targets / probs) / count
        case "mse":
            return 2 * (probs - targets) / count
        case "mae":
            return np.sign(probs - targets) / count


def logit_gradient(probs: Array, targets: Array, loss: LossName) -> Array:
    """Return the derivative of the batch's loss by each logit, (N, classes).

    By the chain rule, through softmax or sigmoid. For cross-entropy after softmax and for bce after sigmoid nearly
    all of it cancels, and (P - Y) / N is left.
    """
    if loss in ("cross-entropy", "bce"):
        return (probs - targets) / len(probs)
    # Each probability hangs on all logits of its image: dp_k/ds_j = p_k (1 if k is j else 0) - p_k p_j.
    by_probability = probability_gradient(probs, targets, loss)
    gradient: Array = probs * (by_probability - (probs * by_probability).sum(axis=1, keepdims=True))
    return gradient
