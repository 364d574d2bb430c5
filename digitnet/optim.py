"""The optimizers, and the schedules of their learning rate."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from digitnet.config import TrainConfig

FINAL_RATE = 1e-3  # where one-cycle and cosine end, as a share of the learning rate
FIRST_RATE = 0.04  # where one-cycle begins (fastai's and PyTorch's 1/25)


def build_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """Build an optimizer over a model's parameters; biases and normalisation are not decayed.

    Source for the exception: Goyal et al., "Accurate, large minibatch SGD" (2017), section 5.1.
    """
    _keep_dynamo_out()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    momentum = config.momentum or 0.0
    first_beta, second_beta = config.betas or (0.9, 0.999)
    betas, device = (first_beta, second_beta), matrices[0].device.type
    on_gpu = device == "cuda"
    # On a GPU the rate lies on the device, so that setting it waits for nothing and a captured step reads the new one.
    rate: Any = torch.tensor(config.learning_rate, device=matrices[0].device) if on_gpu else config.learning_rate
    match config.optimizer:
        case "sgd":
            return optim.SGD(groups, lr=rate, momentum=momentum, nesterov=bool(config.nesterov), fused=True)
        case "rmsprop":
            return optim.RMSprop(groups, lr=rate, momentum=momentum, capturable=on_gpu)
        case "adagrad":
            return optim.Adagrad(groups, lr=config.learning_rate, fused=True if device == "cpu" else None)
        case "adadelta":
            return optim.Adadelta(groups, lr=rate, capturable=on_gpu)
        case "adam":
            return optim.Adam(groups, lr=rate, betas=betas, fused=True, capturable=on_gpu)
        case "adamw":
            return optim.AdamW(groups, lr=rate, betas=betas, fused=True, capturable=on_gpu)


def _keep_dynamo_out() -> None:
    """Keep the making of an optimizer from importing torch._dynamo, which takes 0.8 s.

    PyTorch imports it to keep this method from being compiled. Nothing here is compiled, so the method is named as what
    torch._dynamo would have made of it: itself.
    """
    if (method := getattr(Optimizer.add_param_group, "__wrapped__", None)) is not None:
        setattr(method, "__dynamo_disable", method)


@torch.no_grad()
def update(optimizer: Optimizer) -> None:
    """Update the parameters by their gradients.

    That is the optimizer's ``step`` without what PyTorch wraps around it: profiling, and torch._dynamo again.
    """
    inspect.unwrap(type(optimizer).step)(optimizer)


def clip_gradients(model: nn.Module, max_norm: float) -> None:
    """Scale a model's gradients down so that the norm of all of them together is at most ``max_norm``.

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013), section 3.2.
    """
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return what an optimizer remembers of each parameter, by the parameter's index and what it is: ``3.exp_avg``."""
    return {
        f"{index}.{name}": value
        for index, (parameter, _) in enumerate(_parameters(optimizer))
        for name, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def remembered_names(config: TrainConfig) -> set[str]:
    """Return the names of what the configured optimizer remembers of each parameter once it has made a step."""
    tiny = nn.Linear(1, 1)
    for parameter in tiny.parameters():
        parameter.grad = torch.zeros_like(parameter)
    update(optimizer := build_optimizer(tiny, config))
    return {key.partition(".")[2] for key in optimizer_tensors(optimizer)}


def load_optimizer_tensors(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Let an optimizer remember what ``optimizer_tensors`` returned of another one of its kind."""
    parameters = _parameters(optimizer)
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        parameter, group = parameters[int(index)]
        if value.shape == parameter.shape:
            # In the parameter's own layout, as the optimizer would have made it.
            optimizer.state[parameter][name] = torch.empty_like(parameter).copy_(value)
        else:
            on_device = group.get("capturable") or group.get("fused")
            optimizer.state[parameter][name] = value.clone().to(parameter.device if on_device else "cpu")


def _parameters(optimizer: Optimizer) -> list[tuple[nn.Parameter, dict[str, Any]]]:
    return [(parameter, group) for group in optimizer.param_groups for parameter in group["params"]]


def is_capturable(optimizer: Optimizer) -> bool:
    """Say whether a step of the optimizer can be captured in a CUDA graph, which reads its rate from the device."""
    return isinstance(optimizer.param_groups[0]["lr"], Tensor)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of the next step, without waiting for the device."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, counted from 1, by the schedule.

    constant: always the same. step: times step_factor every step_epochs epochs. cosine: a linear warm-up, then half a
    cosine down. one-cycle: half a cosine up over the warm-up, half a cosine down after it. trapezoid: a linear warm-up,
    then always the same, then a linear cool-down.

    Sources: Loshchilov and Hutter, "SGDR" (2017), for cosine; Smith and Topin, "Super-convergence" (2018), for
    one-cycle; Hägele et al., "Scaling laws and compute-optimal training beyond fixed training durations" (2024), for
    trapezoid.
    """
    peak = config.learning_rate
    total = config.total_steps(steps_per_epoch)
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
        case "trapezoid":
            rise, _ = _progress(step, total, config.warmup or 0.0)
            return peak * rise * _cooled(step, total, config)


def _progress(step: int, total: int, warmup: float) -> tuple[float, float | None]:
    """Return how much of the rise is done, in (0, 1], and of the fall, in [0, 1], or None before it."""
    rising = round(warmup * total)
    if step <= rising:
        return step / rising, None
    return 1.0, (step - rising - 1) / max(total - rising - 1, 1)


def _cooled(step: int, total: int, config: TrainConfig) -> float:
    """Return what share of the rate is left, in [FINAL_RATE, 1], falling in a straight line at the end.

    The last step of the rise, or without one the first of all, is at the top, however few steps there are.
    """
    falling = min(round((config.cooldown or 0.0) * total), total - max(round((config.warmup or 0.0) * total), 1))
    return 1 - (1 - FINAL_RATE) * max(0, step - (total - falling)) / max(falling, 1)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


class WeightAverage:
    """A running mean of a network's weights and of batch normalisation's statistics, which often answers better.

    At first it keeps less of its past, (t - 1) / (t + 8) at step t, so that short runs forget where they began.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992); for the start,
    tf.train.ExponentialMovingAverage.
    """

    def __init__(self, mean: nn.Module, model: nn.Module, decay: float) -> None:
        self._mean, self._model = averaged_tensors(mean), averaged_tensors(model)
        self._decay = decay
        self._share = torch.ones((), device=self._mean[0].device)  # on the device, for a captured step to read

    def set_step(self, step: int) -> None:
        """Set how much the next update counts for; steps count from 1."""
        self._share.fill_(max(1 - self._decay, 9 / (step + 8)))

    @torch.no_grad()
    def update(self) -> None:
        """Move the mean towards the model's weights."""
        for mean, value in zip(self._mean, self._model, strict=True):
            mean.lerp_(value, self._share)


def averaged_tensors(model: nn.Module) -> list[Tensor]:
    """Return what a mean of networks is made of: weights and statistics, but not how many batches were normalised."""
    return [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
