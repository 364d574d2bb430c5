"""The training loop: forward, loss, backward, update. Silent: it returns and yields values, and prints nothing."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from digitnet.capture import CapturedStep
from digitnet.config import TrainConfig
from digitnet.data.augment import augment
from digitnet.data.digits import Digits
from digitnet.device import derive_seed, generator
from digitnet.errors import DigitnetError
from digitnet.evaluation import count, logits_of
from digitnet.gauge import Gauge
from digitnet.losses import LossFunction, build_loss, with_nondigits
from digitnet.metrics import Metrics, standard_error
from digitnet.models import DigitNet, to_float
from digitnet.optim import WeightAverage, build_optimizer, is_capturable, learning_rate, set_learning_rate, update
from digitnet.stopping import Stopping, StopReason

CPU = torch.device("cpu")
REPORTS_PER_EPOCH = 20  # how often the loss is fetched from the device for the bar


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Where training is, some twenty times an epoch."""

    epoch: int
    epochs: int
    """How many there will be, if nothing stops training sooner."""
    step: int
    """Updates so far, over all epochs."""
    total_steps: int
    loss: float | None
    """Mean training loss of the epoch so far; None until a GPU has sent the first."""
    counted: int
    """Images of the epoch that this is the mean of."""
    images_per_s: float
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What an epoch came to."""

    epoch: int
    epochs: int
    step: int
    learning_rate: float
    """Of the last step."""
    train_loss: float
    """Mean over the epoch's steps, as the network changed; of augmented images, with dropout, and with the
    telling of digits from the rest where there are images of the rest."""
    train_accuracy: float
    """Likewise, of the digits alone."""
    validation: Metrics
    logits: Tensor = field(repr=False, compare=False)
    """Of the validation images, (N, 10) float32, on their device."""
    best: bool
    """Whether this epoch is the one to keep so far: the last whose validation accuracy is within a standard error of
    the highest before it. A difference so small says little, and most schedules end at their lowest rate. With a
    patience, which is there to stop before the network learns its images by heart, it is the highest itself."""
    images_per_s: float
    elapsed_s: float
    """Since training began, validation included."""
    stop: StopReason | None
    """Why training ends with this epoch; None when it goes on."""


Result = StepResult | EpochResult


def train_step(
    model: DigitNet,
    images: Tensor,
    targets: Tensor,
    loss_fn: LossFunction,
    optimizer: Optimizer,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Run one step: forward, loss, backward, update.

    Args:
        model: In training mode.
        images: (N, 1, 28, 28) float32 in [0, 1]; after them may come M that are no digits, for the loss to tell apart.
        targets: (N,) int64.
        loss_fn: From ``build_loss``.
        optimizer: Over the model's parameters.
        dtype: What matrix products run in; parameters stay float32.

    Returns:
        The batch's mean loss, (), and its number of correct predictions, (), both still on the device.
    """
    # Without the cache, of no use to a network that uses each weight once, a step can be captured in a CUDA graph.
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False):
        logits = model(images)
    loss = loss_fn(logits.float(), targets)
    loss.backward()  # type: ignore[no-untyped-call]
    update(optimizer)
    model.zero_grad(set_to_none=True)
    return loss.detach(), (logits.detach()[: len(targets)].argmax(1) == targets).sum()


def fit(
    model: DigitNet,
    train: Digits,
    validation: Digits,
    config: TrainConfig,
    dtype: torch.dtype = torch.float32,
    nondigits: Tensor | None = None,
) -> Iterator[Result]:
    """Train a model in place, yielding what happens as it happens.

    The order of each epoch, its augmentation and its dropout follow from (seed, epoch) alone. After an EpochResult is
    yielded, the model may be saved; it is not touched until the next one is asked for. On a GPU the host waits for the
    device at the end of an epoch only.

    Args:
        model: On the device of the digits. With a weight_average, it gets the mean, and a copy of it is trained.
        train: What to train on.
        validation: What the best epoch is chosen by.
        config: The rule; its device and precision are the caller's to honour, by where the digits are and ``dtype``.
        dtype: What matrix products run in.
        nondigits: Images of what are no digits, (M, 1, 28, 28) uint8 on that device: each epoch passes over them, too.

    Raises:
        DigitnetError: The loss is no longer a finite number.
    """
    stopping = Stopping(config, started=time.monotonic())
    trainer = _Trainer(model, train, nondigits, config, dtype)
    validation_loss_fn = build_loss(config.loss)  # smoothing is for training
    highest = 0.0
    for epoch in range(1, trainer.epochs + 1):
        trained = yield from trainer.train_epoch(epoch, stopping)
        logits = logits_of(model, validation.images, dtype)
        metrics = count(logits, validation.targets, validation_loss_fn)
        trainer.check(metrics.loss, trained.step)
        slack = standard_error(highest, metrics.count) if config.patience is None else 0.0
        is_best = metrics.accuracy >= highest - slack
        highest = max(highest, metrics.accuracy)
        stop = stopping.reason(metrics, last=epoch == trainer.epochs)
        yield EpochResult(
            epoch=epoch,
            epochs=trainer.epochs,
            step=trained.step,
            learning_rate=trained.learning_rate,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            validation=metrics,
            logits=logits,
            best=is_best,
            images_per_s=trained.images_per_s,
            elapsed_s=stopping.elapsed_s,
            stop=stop,
        )
        if stop:
            return


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """What one pass over the training images came to."""

    step: int
    learning_rate: float
    loss: float
    accuracy: float
    images_per_s: float


class _Trainer:
    """The images, the model and the rule of a run, and what its steps share: the same memory on the device."""

    def __init__(
        self, model: DigitNet, digits: Digits, nondigits: Tensor | None, config: TrainConfig, dtype: torch.dtype
    ) -> None:
        self._digits, self._nondigits, self._config, self._dtype = digits, nondigits, config, dtype
        device = digits.images.device
        self._trained = model if config.weight_average is None else copy.deepcopy(model)
        decay = config.weight_average
        self._average = None if decay is None else WeightAverage(model, self._trained, decay)
        loss_fn = build_loss(config.loss, config.label_smoothing)
        self._loss_fn = loss_fn if nondigits is None else with_nondigits(loss_fn)
        self._optimizer = build_optimizer(self._trained, config)
        self._noise = torch.Generator(device)
        self._loss_sum = torch.zeros((), device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        captured = device.type == "cuda" and is_capturable(self._optimizer)
        self._run_step = CapturedStep(self._step, [self._noise]) if captured else self._step
        self._steps_per_epoch = -(-len(digits) // config.batch_size)
        self._total_steps = config.total_steps(self._steps_per_epoch)
        self.epochs = -(-self._total_steps // self._steps_per_epoch)

    def _step(self, batch: Tensor, others: Tensor | None = None) -> None:
        """Train on a batch, adding up its loss and its right answers on the device.

        Args:
            batch: Which digits, (N,) int64.
            others: Which of the images that are no digits, (M,) int64.
        """
        images, targets = self._digits.images[batch], self._digits.targets[batch]
        if self._nondigits is not None and others is not None:
            images = torch.cat([images, self._nondigits[others]])
        images = augment(to_float(images), self._config.augment, self._noise)
        loss, right = train_step(self._trained, images, targets, self._loss_fn, self._optimizer, self._dtype)
        self._loss_sum += loss * len(batch)
        self._correct += right
        if self._average is not None:
            self._average.update()

    def train_epoch(self, epoch: int, stopping: Stopping) -> Generator[StepResult, None, _Trained]:
        """Pass once over the training images, or as far as the steps or the time budget last."""
        config = self._config
        step, seen, started = (epoch - 1) * self._steps_per_epoch, 0, time.monotonic()
        batches = self._batches(epoch)[: self._total_steps - step]
        self._noise.manual_seed(derive_seed(config.seed, epoch, "augment"))
        torch.manual_seed(derive_seed(config.seed, epoch, "dropout"))  # dropout takes no generator of its own
        self._loss_sum.zero_()
        self._correct.zero_()
        gauge = Gauge(self._loss_sum)
        report_every = max(1, len(batches) // REPORTS_PER_EPOCH)
        self._trained.train()
        for batch in batches:
            step, seen = step + 1, seen + len(batch[0])
            rate = learning_rate(config, step, self._steps_per_epoch)
            set_learning_rate(self._optimizer, rate)
            if self._average is not None:
                self._average.set_step(step)
            self._run_step(*batch)
            if step % report_every == 0 or stopping.out_of_time:
                yield self._report(gauge, epoch, step, seen, started, stopping)
            if stopping.out_of_time:
                break
        return _Trained(
            step=step,
            learning_rate=rate,
            loss=self.check(self._loss_sum.item() / seen, step),
            accuracy=self._correct.item() / seen,
            images_per_s=seen / max(time.monotonic() - started, 1e-9),
        )

    def _batches(self, epoch: int) -> list[tuple[Tensor, ...]]:
        """Cut an epoch into batches: indices of digits, and of what are no digits if there are any, in even shares."""
        device = self._digits.images.device
        digits = epoch_batches(len(self._digits), epoch, self._config, device)
        if self._nondigits is None:
            return [(batch,) for batch in digits]
        order = torch.randperm(len(self._nondigits), generator=generator(self._config.seed, epoch, "nondigits", CPU))
        return list(zip(digits, order.to(device).tensor_split(len(digits)), strict=True))

    def _report(self, gauge: Gauge, epoch: int, step: int, seen: int, started: float, stopping: Stopping) -> StepResult:
        loss_sum, counted = gauge.read(seen)
        return StepResult(
            epoch=epoch,
            epochs=self.epochs,
            step=step,
            total_steps=self._total_steps,
            loss=self.check(loss_sum / counted, step) if counted else None,
            counted=counted,
            images_per_s=seen / max(time.monotonic() - started, 1e-9),
            elapsed_s=stopping.elapsed_s,
        )

    def check(self, loss: float, step: int) -> float:
        """Return the loss.

        Raises:
            DigitnetError: It is no finite number.
        """
        if not math.isfinite(loss):
            rate = learning_rate(self._config, step, self._steps_per_epoch)
            raise DigitnetError(f"the loss is {loss} by step {step}, at a learning rate of {rate:.3g}; try a lower one")
        return loss


def epoch_batches(count: int, epoch: int, config: TrainConfig, device: torch.device = CPU) -> tuple[Tensor, ...]:
    """Cut an epoch's random order of ``count`` images into batches of indices, int64, on a device.

    Every image is in one batch; the batches are at most batch_size large and equal to within one image, so that no
    small last batch weighs as much as the others.
    """
    # Drawn on the CPU: the same order on every device.
    order = torch.randperm(count, generator=generator(config.seed, epoch, "order", CPU))
    return order.to(device).tensor_split(-(-count // config.batch_size))
