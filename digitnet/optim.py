"""The optimizers, and the schedules of their learning rate."""

from __future__ import annotations

import math

from torch import nn, optim
from torch.optim import Optimizer

from digitnet.config import TrainConfig

FINAL_RATE = 1e-3  # where one-cycle and cosine end, as a share of the learning rate
FIRST_RATE = 0.04  # where one-cycle begins (fastai's and PyTorch's 1/25)


def build_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """Build an optimizer over a model's parameters; biases and normalisation are not decayed.

    Source for the exception: Goyal et al., "Accurate, large minibatch SGD" (2017), section 5.1.
    """
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    rate, momentum = config.learning_rate, config.momentum or 0.0
    match config.optimizer:
        case "sgd":
            return optim.SGD(groups, lr=rate, momentum=momentum, nesterov=bool(config.nesterov))
        case "rmsprop":
            return optim.RMSprop(groups, lr=rate, momentum=momentum)
        case "adagrad":
            return optim.Adagrad(groups, lr=rate)
        case "adadelta":
            return optim.Adadelta(groups, lr=rate)
        case "adam":
            return optim.Adam(groups, lr=rate)
        case "adamw":
            return optim.AdamW(groups, lr=rate)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, counted from 1, by the schedule.

    constant: always the same. step: times step_factor every step_epochs epochs. cosine: a linear warm-up, then half a
    cosine down. one-cycle: half a cosine up over the warm-up, half a cosine down after it.

    Sources: Loshchilov and Hutter, "SGDR" (2017), for cosine; Smith and Topin, "Super-convergence" (2018), for
    one-cycle.
    """
    peak = config.learning_rate
    total = config.epochs * steps_per_epoch
    match config.schedule:
        case "constant":
            return peak
        case "step":
            falls = (step - 1) // steps_per_epoch // (config.step_epochs or 1)
            return peak * float((config.step_factor or 1.0) ** falls)
        case "cosine":
            rise, progress = _progress(step, total, config.warmup or 0.0)
            return peak * rise if progress is None else _cosine(peak, peak * FINAL_RATE, progress)
        case "one-cycle":
            rise, progress = _progress(step, total, config.warmup or 0.0)
            if progress is None:
                return _cosine(peak * FIRST_RATE, peak, rise)
            return _cosine(peak, peak * FINAL_RATE, progress)


def _progress(step: int, total: int, warmup: float) -> tuple[float, float | None]:
    """Return how much of the rise is done, in (0, 1], and of the fall, in [0, 1], or None before it."""
    rising = round(warmup * total)
    if step <= rising:
        return step / rising, None
    return 1.0, (step - rising - 1) / max(total - rising - 1, 1)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
