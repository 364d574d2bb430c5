"""Distillation: a network learns the answers of several others, their mean.

What it learns from are not labels but logits, of images that are bent and drawn anew each time: which digits an image
is like, and how much it is like a digit at all. A wrong label teaches nothing here; labels only say which digits can
be turned into drawings that are none.

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
from digitnet.data.digits import Digits
from digitnet.data.nondigits import draw_nondigits
from digitnet.data.strokes import draw_strokes
from digitnet.device import derive_seed, generator
from digitnet.models import DigitNet, to_float
from digitnet.optim import WeightAverage, averaged_tensors, build_optimizer, learning_rate, set_learning_rate
from digitnet.step import learn

CPU = torch.device("cpu")
LOGITS_WEIGHT = 0.05  # of the logits' squared difference, which is in other units than the cross-entropies
TRAINED_STEPS = 2_000  # that count as done, for the mean of the weights: the network is no beginner


@dataclass(frozen=True, kw_only=True)
class Teachers:
    """Networks whose answers are learnt."""

    heard: Sequence[DigitNet]
    """On everything: which digit an image is like, and how much it is like one at all."""
    experts: Sequence[DigitNet] = ()
    """On the data set's own images alone, and only on which digit they are: trained on nothing else, they know it best,
    and nothing of what is no digit."""

    @torch.no_grad()
    def logits(self, images: Tensor, own: int, dtype: torch.dtype) -> Tensor:
        """Return what there is to learn, (N, 10) float32, of images of which the first ``own`` are the data set's.

        That is the mean of the logits; with experts, the first have the class probabilities of the mean of all, and
        the log-sum-exp of the mean of those that are heard.
        """
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32, cache_enabled=False):
            heard = [teacher(images).float() for teacher in self.heard]
            experts = [teacher(images[:own]).float() for teacher in self.experts]
        taught = torch.stack(heard).mean(0)
        if experts:
            which = torch.stack([*(logits[:own] for logits in heard), *experts]).mean(0).log_softmax(1)
            taught[:own] = which + taught[:own].logsumexp(1, keepdim=True)
        return taught


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The images of a step: the data set's own, then strokes, then what is no digit."""

    images: Tensor
    """(N, 1, 28, 28) uint8."""
    own: int
    """How many are the data set's."""
    digits: int
    """How many are of digits, the data set's own among them."""


@dataclass(frozen=True, kw_only=True)
class EpochLoss:
    """What a pass over the images came to."""

    epoch: int
    step: int
    loss: float


def mean_network(networks: Sequence[DigitNet]) -> DigitNet:
    """Return a network whose weights are the mean of others', all of one run: its epochs, say.

    Raises:
        ValueError: Their weights are not of the same shapes.

    Source: Izmailov et al., "Averaging weights leads to wider optima and better generalization" (2018).
    """
    if len({tuple(value.shape for value in averaged_tensors(network)) for network in networks}) > 1:
        raise ValueError("only networks of the same layers, such as the epochs of one run, have a mean of weights")
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
    student: DigitNet, teachers: Teachers, train: Digits, config: TrainConfig, dtype: torch.dtype
) -> Iterator[EpochLoss]:
    """Train a network in place to answer as its teachers do; on the CPU.

    Args:
        student: Already trained; it gets the mean of the weights of a copy, which is what is trained.
        teachers: Networks of any kind, which stay as they are.
        train: The data set's training images. Strokes, and drawings of what is no digit, are new in each epoch: as
            their labels are the teachers', there is no end of them to learn from.
        config: How many epochs in batches of what size, with how many strokes and drawings, what optimizer, schedule,
            augmentation and seed; it has a weight_average.
        dtype: What matrix products run in.
    """
    trained = copy.deepcopy(student).train()
    average = WeightAverage(student, trained, config.weight_average or 0.0)
    optimizer = build_optimizer(trained, config)
    step = 0
    for teacher in (*teachers.heard, *teachers.experts):
        teacher.eval()
    for epoch in range(1, (config.epochs or 0) + 1):
        noise = generator(config.seed, epoch, "augment", CPU)
        torch.manual_seed(derive_seed(config.seed, epoch, "dropout"))  # dropout takes no generator of its own
        loss_sum, dealt = 0.0, batches(train, config, epoch)
        for batch in dealt:
            step += 1
            set_learning_rate(optimizer, learning_rate(config, step, len(dealt)))
            images = augment(to_float(batch.images), config.augment, noise)
            taught = teachers.logits(images, batch.own, dtype)
            loss_fn = partial(distillation_loss, digits=batch.digits)
            loss, _ = learn(trained, images, taught, loss_fn, optimizer, dtype, config.max_grad_norm)
            average.set_step(step + TRAINED_STEPS)
            average.update()
            loss_sum += loss.item()
        yield EpochLoss(epoch=epoch, step=step, loss=loss_sum / len(dealt))


def batches(train: Digits, config: TrainConfig, epoch: int) -> list[Batch]:
    """Deal out an epoch's images to its steps: each of the data set's own, and strokes and drawings that are new."""
    seed = derive_seed(config.seed, epoch, "drawing")
    strokes, _ = draw_strokes(config.extra_strokes, seed=seed)
    nondigits = draw_nondigits(config.nondigits, train.images, train.targets, seed=seed)
    random = generator(config.seed, epoch, "order", CPU)
    steps = -(-(len(train) + len(strokes)) // config.batch_size)
    sources = (train.images, strokes, nondigits)
    shares = [images[torch.randperm(len(images), generator=random)].tensor_split(steps) for images in sources]
    return [
        Batch(images=torch.cat((own, drawn, others)), own=len(own), digits=len(own) + len(drawn))
        for own, drawn, others in zip(*shares, strict=True)
    ]
