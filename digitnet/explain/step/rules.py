"""The optimizers' rules for the first step, written out by hand and compared with what PyTorch makes of the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from digitnet.config import ActivationName, LossName, TrainConfig
from digitnet.explain.step.calculus import Array
from digitnet.explain.step.toy import Arrays, Batch, build_module, forward, largest_difference
from digitnet.optim import build_optimizer, update

# What PyTorch adds so as not to divide by 0, and how much of the past rmsprop and adadelta keep: its defaults.
RMSPROP_KEPT, RMSPROP_EPS = 0.99, 1e-8
ADAGRAD_EPS = 1e-10
ADADELTA_KEPT, ADADELTA_EPS = 0.9, 1e-6
ADAM_EPS = 1e-8


@dataclass(frozen=True, kw_only=True)
class Update:
    """A step by one rule."""

    optimizer: str
    """An optimizer's name; plain for W -= learning_rate * gradient."""
    learning_rate: float
    settings: dict[str, float | bool | tuple[float, ...]]
    """What else the rule takes: momentum, nesterov, betas, weight_decay."""
    changes: Arrays
    """What is added to each parameter."""
    parameters: Arrays
    """After it."""
    error: float
    """The largest difference of a parameter from PyTorch's own result."""
    probs: Array
    """(N, classes): what the network then makes of the same batch, and"""
    loss: float


def take_step(
    config: TrainConfig,
    parameters: Arrays,
    gradients: Arrays,
    batch: Batch,
    activation: ActivationName,
) -> Update:
    """Take a first step by the optimizer of a configuration, whose loss is the one the gradients are of."""
    changes = {name: _change(parameters[name], gradients[name], config) for name in parameters}
    after = {name: parameters[name] + changes[name] for name in parameters}
    done = forward(after, batch, activation, config.loss)
    plain = config.optimizer == "sgd" and not config.momentum
    settings = {name: getattr(config, name) for name in ("momentum", "nesterov", "betas", "weight_decay")}
    return Update(
        optimizer="plain" if plain else config.optimizer,
        learning_rate=config.learning_rate,
        settings={name: value for name, value in settings.items() if value},
        changes=changes,
        parameters=after,
        error=largest_difference(after, _torch_step(config, parameters, gradients, activation)),
        probs=done.probs,
        loss=done.loss,
    )


def losses_by_rate(
    rates: Sequence[float],
    parameters: Arrays,
    gradients: Arrays,
    batch: Batch,
    activation: ActivationName,
    loss: LossName,
) -> list[float]:
    """Compute the loss after one plain step, W -= learning_rate * gradient, at each learning rate."""
    moved = ({name: parameters[name] - rate * gradients[name] for name in parameters} for rate in rates)
    return [forward(after, batch, activation, loss).loss for after in moved]


def _change(value: Array, gradient: Array, config: TrainConfig) -> Array:
    """Return what a rule adds to a parameter at the first step."""
    rate = config.learning_rate
    decay = config.weight_decay if value.ndim > 1 else 0.0  # biases are not decayed
    if config.optimizer == "adamw":
        return -rate * decay * value - rate * _direction(gradient, config)
    return -rate * _direction(gradient + decay * value, config)


def _direction(g: Array, config: TrainConfig) -> Array:
    """Return what the learning rate is multiplied by for the first gradient, when all that is remembered is 0."""
    direction: Array
    match config.optimizer:
        case "sgd":
            velocity = g  # momentum * 0 + g
            direction = g + (config.momentum or 0.0) * velocity if config.nesterov else velocity
        case "rmsprop":
            mean_square = (1 - RMSPROP_KEPT) * g**2
            direction = g / (np.sqrt(mean_square) + RMSPROP_EPS)
        case "adagrad":
            sum_of_squares = g**2
            direction = g / (np.sqrt(sum_of_squares) + ADAGRAD_EPS)
        case "adadelta":
            mean_square = (1 - ADADELTA_KEPT) * g**2
            direction = g * np.sqrt(ADADELTA_EPS) / np.sqrt(mean_square + ADADELTA_EPS)
        case "adam" | "adamw":
            first, second = config.betas or (0.9, 0.999)
            mean, mean_square = (1 - first) * g, (1 - second) * g**2
            # Both means start at 0, and are divided by the share of them that is not from there.
            direction = (mean / (1 - first)) / (np.sqrt(mean_square / (1 - second)) + ADAM_EPS)
    return direction


def _torch_step(config: TrainConfig, parameters: Arrays, gradients: Arrays, activation: ActivationName) -> Arrays:
    module = build_module(parameters, activation)
    for parameter, gradient in zip(module.parameters(), gradients.values(), strict=True):
        parameter.grad = torch.from_numpy(gradient.copy())
    update(build_optimizer(module, config))
    found = (parameter.detach().numpy() for parameter in module.parameters())
    return dict(zip(parameters, found, strict=True))
