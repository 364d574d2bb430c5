"""Distillation: a network learns the answers of several others, their mean, which is right more often than any.

What it learns from are not labels but logits, of images that are bent and drawn anew each time: which digits an image
is like, and how much it is like a digit at all. A wrong label teaches nothing here.

Sources: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015); Ba and Caruana, "Do deep nets
really need to be deep?" (2014), for the squared difference of logits.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from digitnet.config import TrainConfig
from digitnet.data.augment import augment
from digitnet.models import DigitNet, to_float
from digitnet.optim import WeightAverage, averaged_tensors, build_optimizer, learning_rate, set_learning_rate
from digitnet.step import learn

LOGITS_WEIGHT = 0.05  # of the logits' squared difference, which is in other units than the cross-entropies
TRAINED_STEPS = 2_000  # that count as done, for the mean of the weights: the network is no beginner


@dataclass(frozen=True, kw_only=True)
class EpochLoss:
    """What a pass over the images came to."""

    epoch: int
    step: int
    loss: float


def mean_network(networks: Sequence[DigitNet]) -> DigitNet:
    """Return a network whose weights are the mean of others', all of one run: its epochs, say.

    Source: Izmailov et al., "Averaging weights leads to wider optima and better generalization" (2018).
    """
    mean = copy.deepcopy(networks[0])
    for value, *values in zip(averaged_tensors(mean), *map(averaged_tensors, networks), strict=True):
        value.copy_(torch.stack(values).mean(0))
    return mean


def distillation_loss(logits: Tensor, taught: Tensor, digits: int) -> Tensor:
    """Say how far logits are from those that are taught.

    Args:
        logits: (N, 10), the first ``digits`` of them of digits, the others of what is none.
        taught: (N, 10), what the teachers say.
        digits: How many images are of digits: which digit the others are like is not learnt as a probability.

    Returns:
        (), float32: cross-entropy with the taught probabilities, binary cross-entropy with the taught answer to
        whether it is a digit at all, and the weighted mean square of the logits' difference.
    """
    which = -(taught[:digits].softmax(1) * logits[:digits].log_softmax(1)).sum(1).mean()
    whether = F.binary_cross_entropy_with_logits(logits.logsumexp(1), taught.logsumexp(1).sigmoid())
    return which + whether + LOGITS_WEIGHT * (logits - taught).square().mean()


def distil(
    student: DigitNet,
    teachers: Sequence[DigitNet],
    digits: Tensor,
    nondigits: Tensor,
    config: TrainConfig,
    dtype: torch.dtype,
) -> Iterator[EpochLoss]:
    """Train a network in place to answer as the mean of its teachers does; on the CPU.

    Args:
        student: Already trained; it gets the mean of the weights of a copy, which is what is trained.
        teachers: Networks of any kind, which stay as they are.
        digits: (N, 1, 28, 28) uint8.
        nondigits: (M, 1, 28, 28) uint8, of what is no digit.
        config: How many epochs in batches of what size, with what optimizer, schedule, augmentation and seed; it has a
            weight_average.
        dtype: What matrix products run in.
    """
    trained = copy.deepcopy(student).train()
    average = WeightAverage(student, trained, config.weight_average or 0.0)
    optimizer = build_optimizer(trained, config)
    random = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)  # dropout takes no generator of its own
    steps, step = -(-len(digits) // config.batch_size), 0
    for teacher in teachers:
        teacher.eval()
    for epoch in range(1, (config.epochs or 0) + 1):
        orders = [torch.randperm(len(images), generator=random).tensor_split(steps) for images in (digits, nondigits)]
        loss_sum = 0.0
        for some, others in zip(*orders, strict=True):
            step += 1
            set_learning_rate(optimizer, learning_rate(config, step, steps))
            images = to_float(torch.cat([digits[some], nondigits[others]]))
            images = augment(images, config.augment, random)
            taught = _mean_logits(teachers, images, dtype)
            loss_fn = partial(distillation_loss, digits=len(some))
            loss, _ = learn(trained, images, taught, loss_fn, optimizer, dtype, config.max_grad_norm)
            average.set_step(step + TRAINED_STEPS)
            average.update()
            loss_sum += loss.item()
        yield EpochLoss(epoch=epoch, step=step, loss=loss_sum / steps)


@torch.no_grad()
def _mean_logits(teachers: Sequence[DigitNet], images: Tensor, dtype: torch.dtype) -> Tensor:
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32, cache_enabled=False):
        return torch.stack([teacher(images).float() for teacher in teachers]).mean(0)
