"""The learning-rate range test: a few seconds of training at ever larger rates, and the rate that they suggest.

Training by that rate is in ``engine.py``; how the test is drawn is in ``explain/training/rates.py``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, pairwise

import numpy as np
import torch
from torch import Tensor

from digitnet.config import RunConfig
from digitnet.data.augment import augment
from digitnet.data.digits import Digits
from digitnet.device import choose_device, choose_precision, derive_seed, use_deterministic_algorithms
from digitnet.errors import DigitnetError
from digitnet.losses import build_loss
from digitnet.models import place, to_float
from digitnet.optim import build_optimizer, set_learning_rate
from digitnet.step import train_step
from digitnet.trainer import epoch_batches
from digitnet.training import new_model

LOWEST, HIGHEST = 1e-5, 100.0  # adam's rates are near 0.001, adadelta's near 1
STEPS_PER_DECADE = 20
SMOOTHING = 3.0  # standard deviation of the smoothing's weights, in steps: a seventh of a decade
BLOWN_UP = 4.0  # times the lowest: where the loss is that high again, no larger rate will do. Source: fastai
LATEST = 5  # steps whose mean says so
# How far above the lowest loss the good rates end, as a share of the whole fall. Tried on an MLP and a small CNN, six
# optimizers and two schedules, with 5,000 images and four epochs: the middle of these rates misses the validation
# accuracy of the best of eleven rates by 0.8 points on average, and by 2.4 at most; the defaults of ``recipes.py`` by
# 1.0 and 2.5, a tenth of the rate of the lowest loss by 4.4 and 11.6, the rate of the steepest fall by 5.2 and 12.8.
FLOOR = 0.1


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """What training at ever larger rates came to."""

    rates: tuple[float, ...]
    """Of each step, each the same factor above the one before."""
    losses: tuple[float, ...]
    """After the step, in training: of the next batch, augmented, with dropout."""
    smoothed: tuple[float, ...]
    """Means of each with its neighbours on both sides."""
    elapsed_s: float

    @property
    def good(self) -> tuple[float, float]:
        """The lowest and the highest rate at which the loss is all but at its lowest.

        Smaller ones learn, but slowly; larger ones undo what was learnt.
        """
        low = min(self.smoothed)
        highest = low + FLOOR * (self.smoothed[0] - low)
        rates = [rate for rate, loss in zip(self.rates, self.smoothed, strict=True) if loss <= highest]
        return rates[0], rates[-1]

    @property
    def suggested(self) -> float:
        """The rate to train by, to two digits: the middle of the good ones, on a logarithmic scale."""
        return float(f"{math.sqrt(math.prod(self.good)):.1e}")


def range_test(config: RunConfig, train: Digits) -> RangeTest:
    """Train a new network for a few seconds, at a rate that rises with each step until the loss blows up.

    The network is the configured one, with the weights that its seed gives, and so are batches, augmentation, loss and
    optimizer. Schedule and weight average take no part, nor do images beside the digits given.

    Source: Smith, "Cyclical learning rates for training neural networks" (2017), section 3.3. That the rate rises
    exponentially, and where the test ends, is fastai's.

    Raises:
        UsageError: The device asked for is not there.
        DigitnetError: At no rate did the loss fall.
    """
    started = time.monotonic()
    rates, losses = [], []
    for rate, loss in _ever_larger(config, train):
        rates.append(rate)
        losses.append(loss)
        if _has_blown_up(losses):
            break
    losses = losses if math.isfinite(losses[-1]) else losses[:-1]
    if len(losses) < LATEST:
        raise DigitnetError("the loss is no finite number at any learning rate")
    result = RangeTest(
        rates=tuple(rates[: len(losses)]),
        losses=tuple(losses),
        smoothed=smooth(losses),
        elapsed_s=time.monotonic() - started,
    )
    if min(result.smoothed) == result.smoothed[0]:
        raise DigitnetError("the loss fell at no learning rate, so that none can be suggested")
    return result


def _ever_larger(config: RunConfig, train: Digits) -> Iterator[tuple[float, float]]:
    """Train, yielding each step's rate, and the loss of the batch that comes after it."""
    rule, device = config.train, choose_device(config.train.device)
    dtype = choose_precision(rule.precision, device)
    use_deterministic_algorithms(rule.deterministic)
    digits = train.to(device)
    model = place(new_model(config, train), device).train()
    optimizer, loss_fn = build_optimizer(model, rule), build_loss(rule.loss, rule.label_smoothing)
    noise = torch.Generator(device).manual_seed(derive_seed(rule.seed, 1, "augment"))
    torch.manual_seed(derive_seed(rule.seed, 1, "dropout"))

    def step(batch: Tensor, rate: float) -> float:
        set_learning_rate(optimizer, rate)
        images = augment(to_float(digits.images[batch].to(device)), rule.augment, noise)
        targets = digits.targets[batch].to(device)
        loss, _ = train_step(model, images, targets, loss_fn, optimizer, dtype, rule.max_grad_norm)
        return loss.item()

    batches = (
        batch for epoch in count(1) for batch in epoch_batches(len(digits), epoch, rule).begin(0, digits.images.device)
    )
    losses = (step(batch, rate) for batch, rate in zip(batches, [*rising_rates(), 0.0], strict=False))
    for rate, (_, after) in zip(rising_rates(), pairwise(losses), strict=True):
        yield rate, after


def rising_rates() -> list[float]:
    """Return the rates of all steps, lowest first."""
    steps = round(math.log10(HIGHEST / LOWEST) * STEPS_PER_DECADE)
    return [LOWEST * 10 ** (step / STEPS_PER_DECADE) for step in range(steps + 1)]


def _has_blown_up(losses: list[float]) -> bool:
    if not math.isfinite(losses[-1]):
        return True
    means = np.convolve(losses, np.full(LATEST, 1 / LATEST), "valid") if len(losses) >= LATEST else [losses[0]]
    return bool(means[-1] > BLOWN_UP * min(means))


def smooth(losses: list[float]) -> tuple[float, ...]:
    """Average each loss with its neighbours on both sides, which count less the further away they are.

    A running mean, as others use, would lag behind: by half a decade, at a tenth of weight for the newest.
    """
    places = np.arange(len(losses))
    weights = np.exp(-0.5 * ((places[:, None] - places) / SMOOTHING) ** 2)
    means = weights @ np.asarray(losses) / weights.sum(1)
    return tuple(means.tolist())
