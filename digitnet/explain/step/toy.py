"""One step of training on a network small enough to follow: batch, forward, loss, gradients, and what checks them.

The network has two dense layers, W1, b1 and W2, b2, with an activation between them; a row stands for an image:

    Z = X W1^T + b1,  H = activation(Z),  S = H W2^T + b2,  P = softmax(S)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from digitnet.config import ActivationName, LossName
from digitnet.data.digits import Digits
from digitnet.device import generator
from digitnet.errors import DataError
from digitnet.explain.step import calculus
from digitnet.explain.step.calculus import Array
from digitnet.losses import build_loss
from digitnet.models import build_activation

CLASSES = (0, 1, 2)
HIDDEN = 3
MARGIN = 4  # pixels around the 20x20 that MNIST's ink is in
QUARTER = 10  # side, in pixels, of what one input is the mean of
NUDGE = 1e-5  # of finite differences: larger ones err by the curve, smaller ones by rounding

Arrays = dict[str, Array]
"""By the name of a parameter: W1 (hidden, inputs), b1 (hidden,), W2 (classes, hidden), b2 (classes,)."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """An image of each class."""

    dataset: str
    digits: tuple[int, ...]
    images: list[list[list[int]]]
    """(N, 20, 20), 0 to 255: the middle of each."""
    inputs: Array
    """X, (N, 4) in [0, 1]: mean of each quarter, rows from the top, to two decimals."""
    targets: Array
    """Y, (N, classes), one-hot."""


@dataclass(frozen=True, kw_only=True)
class Forward:
    """What a batch becomes, layer by layer."""

    sums: Array
    """Z, (N, hidden)."""
    hidden: Array
    """H, (N, hidden)."""
    logits: Array
    """S, (N, classes)."""
    probs: Array
    """P, (N, classes); for bce each class's own, for the others softmax's."""
    image_losses: Array
    """(N,)."""
    loss: float
    """Their mean."""


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """The derivatives of the loss, by the chain rule, from the back to the front."""

    probs: Array
    """By P, (N, classes)."""
    logits: Array
    """By S, (N, classes)."""
    hidden: Array
    """By H, (N, hidden)."""
    slopes: Array
    """The activation's derivative at Z, (N, hidden)."""
    sums: Array
    """By Z, (N, hidden)."""
    parameters: Arrays


@dataclass(frozen=True, kw_only=True)
class Check:
    """The same gradients, found in two other ways."""

    autograd: Arrays
    differences: Arrays
    """(loss with the number a little larger - loss with it a little smaller) / twice that little."""
    autograd_error: float
    """The largest difference from the chain rule's."""
    differences_error: float


def take_batch(digits: Digits, seed: int) -> Batch:
    """Take an image of each class at random, and reduce it to the means of its quarters.

    Raises:
        DataError: There is no image of one of the classes.
    """
    random = generator(seed, 0, "batch of explain step", torch.device("cpu"))
    images: list[Tensor] = []
    for digit in CLASSES:
        found = digits.images[digits.targets == digit]
        if not len(found):
            raise DataError(f"{digits.name} has no image of a {digit}; the step is shown on {CLASSES}")
        chosen = int(torch.randint(len(found), (), generator=random))
        images.append(found[chosen, 0, MARGIN:-MARGIN, MARGIN:-MARGIN])
    stack = torch.stack(images)
    means = F.avg_pool2d(stack[:, None].double() / 255, QUARTER).flatten(1)
    return Batch(
        dataset=digits.name,
        digits=CLASSES,
        images=stack.tolist(),
        inputs=means.numpy().round(2),
        targets=np.eye(len(CLASSES)),
    )


def draw_parameters(seed: int) -> Arrays:
    """Draw weights from -1 to 1 and biases from -0.2 to 0.2, all to one decimal."""
    random = generator(seed, 0, "parameters of explain step", torch.device("cpu"))

    def draw(most: float, *size: int) -> Array:
        numbers: Array = (torch.rand(size, generator=random, dtype=torch.float64) * 2 - 1).numpy() * most
        return numbers.round(1) + 0.0  # which makes 0 of -0

    inputs, classes = 4, len(CLASSES)
    return {
        "W1": draw(1.0, HIDDEN, inputs),
        "b1": draw(0.2, HIDDEN),
        "W2": draw(1.0, classes, HIDDEN),
        "b2": draw(0.2, classes),
    }


def forward(parameters: Arrays, batch: Batch, activation: ActivationName, loss: LossName) -> Forward:
    """Compute what a batch becomes, and its loss."""
    sums = batch.inputs @ parameters["W1"].T + parameters["b1"]
    hidden = calculus.activate(sums, activation)
    logits = hidden @ parameters["W2"].T + parameters["b2"]
    probs = calculus.probabilities(logits, loss)
    losses = calculus.image_losses(probs, batch.targets, loss)
    return Forward(sums=sums, hidden=hidden, logits=logits, probs=probs, image_losses=losses, loss=float(losses.mean()))


def backward(parameters: Arrays, batch: Batch, done: Forward, activation: ActivationName, loss: LossName) -> Gradients:
    """Compute each derivative of the loss by the chain rule."""
    by_logits = calculus.logit_gradient(done.probs, batch.targets, loss)
    by_hidden = by_logits @ parameters["W2"]
    slopes = calculus.slope(done.sums, activation)
    by_sums = by_hidden * slopes
    return Gradients(
        probs=calculus.probability_gradient(done.probs, batch.targets, loss),
        logits=by_logits,
        hidden=by_hidden,
        slopes=slopes,
        sums=by_sums,
        parameters={
            "W1": by_sums.T @ batch.inputs,
            "b1": by_sums.sum(axis=0),
            "W2": by_logits.T @ done.hidden,
            "b2": by_logits.sum(axis=0),
        },
    )


def check_gradients(
    parameters: Arrays, batch: Batch, found: Arrays, activation: ActivationName, loss: LossName
) -> Check:
    """Compare gradients with autograd's, through digitnet's own losses and activations, and with finite differences."""
    module = build_module(parameters, activation)
    logits = module(torch.from_numpy(batch.inputs))
    targets = torch.from_numpy(batch.targets.argmax(axis=1))
    build_loss(loss)(logits, targets).backward()  # type: ignore[no-untyped-call]
    autograd = {name: gradient.numpy() for name, gradient in zip(parameters, _gradients(module), strict=True)}
    differences = {name: _finite_differences(parameters, name, batch, activation, loss) for name in parameters}
    return Check(
        autograd=autograd,
        differences=differences,
        autograd_error=largest_difference(found, autograd),
        differences_error=largest_difference(found, differences),
    )


def build_module(parameters: Arrays, activation: ActivationName) -> nn.Module:
    """Build the same network in PyTorch, in float64."""
    w1, b1, w2, b2 = (torch.from_numpy(value.copy()) for value in parameters.values())
    first, second = nn.Linear(*w1.shape[::-1]), nn.Linear(*w2.shape[::-1])
    module = nn.Sequential(first, build_activation(activation), second).double()
    for parameter, value in zip(module.parameters(), (w1, b1, w2, b2), strict=True):
        parameter.data = value
    return module


def _gradients(module: nn.Module) -> Iterator[Tensor]:
    for parameter in module.parameters():
        assert parameter.grad is not None
        yield parameter.grad


def _finite_differences(
    parameters: Arrays, name: str, batch: Batch, activation: ActivationName, loss: LossName
) -> Array:
    found = np.zeros_like(parameters[name])
    for place in np.ndindex(found.shape):
        losses = []
        for nudge in (NUDGE, -NUDGE):
            nudged = parameters[name].copy()
            nudged[place] += nudge
            losses.append(forward({**parameters, name: nudged}, batch, activation, loss).loss)
        found[place] = (losses[0] - losses[1]) / (2 * NUDGE)
    return found


def largest_difference(these: Arrays, those: Arrays) -> float:
    """Return the largest difference between numbers of the same names and places."""
    return max(float(np.abs(these[name] - those[name]).max()) for name in these)
