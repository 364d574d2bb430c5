"""The training loop: forward, loss, backward, update. Silent: it returns and yields values, and prints nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from digitnet.config import TrainConfig
from digitnet.data.augment import augment
from digitnet.data.digits import Digits
from digitnet.device import derive_seed, generator
from digitnet.errors import DigitnetError
from digitnet.losses import LossFunction, build_loss
from digitnet.metrics import Metrics, confusion_counts
from digitnet.models import DigitNet
from digitnet.optim import build_optimizer, learning_rate, set_learning_rate

CPU = torch.device("cpu")
EVAL_BATCH = 1_000
REPORTS_PER_EPOCH = 20  # how often the loss is fetched from the device for the bar

StopReason = Literal["epochs", "patience", "until-accuracy", "time-budget"]


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Where training is, some twenty times an epoch."""

    epoch: int
    step: int
    """Updates so far, over all epochs."""
    total_steps: int
    loss: float
    """Mean training loss of the epoch so far."""
    images_per_s: float
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What an epoch came to."""

    epoch: int
    step: int
    learning_rate: float
    """Of the last step."""
    train_loss: float
    """Mean over the epoch's steps, as the network changed; of augmented images, with dropout."""
    train_accuracy: float
    """Likewise."""
    validation: Metrics
    best: bool
    """Whether the validation accuracy is the best yet; of equal ones, the lower loss."""
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
        images: (N, 1, 28, 28) float32 in [0, 1].
        targets: (N,) int64.
        loss_fn: From ``build_loss``.
        optimizer: Over the model's parameters.
        dtype: What matrix products run in; parameters stay float32.

    Returns:
        The batch's mean loss, (), and its number of correct predictions, (), both still on the device.
    """
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        logits = model(images)
    loss = loss_fn(logits.float(), targets)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach(), (logits.detach().argmax(1) == targets).sum()


@torch.inference_mode()
def evaluate(model: DigitNet, digits: Digits, loss_fn: LossFunction, dtype: torch.dtype = torch.float32) -> Metrics:
    """Count what a model makes of labelled images, on the device that both are on. Each image counts once."""
    was_training = model.training
    model.eval()
    device = digits.images.device
    loss_sum = torch.zeros((), device=device)
    confusion = torch.zeros(10, 10, dtype=torch.int64, device=device)
    for start in range(0, len(digits), EVAL_BATCH):
        images, targets = digits.images[start : start + EVAL_BATCH], digits.targets[start : start + EVAL_BATCH]
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = model(to_float(images)).float()
        loss_sum += loss_fn(logits, targets) * len(targets)
        confusion += confusion_counts(logits.argmax(1), targets)
    model.train(was_training)
    return Metrics(loss=loss_sum.item() / len(digits), confusion=tuple(map(tuple, confusion.tolist())))


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 images into what a model takes: float32 in [0, 1], the same shape."""
    return images.float().div_(255)


def fit(
    model: DigitNet,
    train: Digits,
    validation: Digits,
    config: TrainConfig,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Result]:
    """Train a model in place, yielding what happens as it happens.

    The order of each epoch, its augmentation and its dropout follow from (seed, epoch) alone. After an EpochResult is
    yielded, the model may be saved; it is not touched until the next one is asked for.

    Args:
        model: On the device of the digits.
        train: What to train on.
        validation: What the best epoch is chosen by.
        config: The rule; its device and precision are the caller's to honour, by where the digits are and ``dtype``.
        dtype: What matrix products run in.

    Raises:
        DigitnetError: The loss is no longer a finite number.
    """
    optimizer = build_optimizer(model, config)
    rule = _Rule(
        config=config,
        loss_fn=build_loss(config.loss, config.label_smoothing),
        optimizer=optimizer,
        dtype=dtype,
    )
    validation_loss_fn = build_loss(config.loss)  # smoothing is for training
    stopping = _Stopping(config, started=time.monotonic())
    best: tuple[float, float] | None = None
    for epoch in range(1, config.epochs + 1):
        trained = yield from _train_epoch(model, train, epoch, rule, stopping)
        metrics = evaluate(model, validation, validation_loss_fn, dtype)
        _finite(metrics.loss, trained.step, optimizer)
        score = (metrics.accuracy, -metrics.loss)
        is_best = best is None or score > best
        best = score if is_best else best
        stop = stopping.reason(epoch, metrics)
        yield EpochResult(
            epoch=epoch,
            step=trained.step,
            learning_rate=optimizer.param_groups[0]["lr"],
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            validation=metrics,
            best=is_best,
            images_per_s=trained.images_per_s,
            elapsed_s=stopping.elapsed_s,
            stop=stop,
        )
        if stop:
            return


class _Stopping:
    """When to stop: whichever rule of the configuration is met first."""

    def __init__(self, config: TrainConfig, started: float) -> None:
        self._config = config
        self._started = started
        self._lowest_loss = math.inf
        self._waited = 0

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    @property
    def out_of_time(self) -> bool:
        budget = self._config.time_budget_s
        return budget is not None and self.elapsed_s >= budget

    def reason(self, epoch: int, validation: Metrics) -> StopReason | None:
        """Say, once an epoch, why to stop after it."""
        self._waited = 0 if validation.loss < self._lowest_loss else self._waited + 1
        self._lowest_loss = min(self._lowest_loss, validation.loss)
        goal, patience = self._config.until_accuracy, self._config.patience
        if goal is not None and validation.accuracy >= goal:
            return "until-accuracy"
        if patience is not None and self._waited >= patience:
            return "patience"
        if self.out_of_time:
            return "time-budget"
        return "epochs" if epoch == self._config.epochs else None


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """How a step is made."""

    config: TrainConfig
    loss_fn: LossFunction
    optimizer: Optimizer
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """What one pass over the training images came to."""

    step: int
    loss: float
    accuracy: float
    images_per_s: float


def _train_epoch(
    model: DigitNet, digits: Digits, epoch: int, rule: _Rule, stopping: _Stopping
) -> Generator[StepResult, None, _Trained]:
    """Pass once over the training images, or as far as the time budget lasts."""
    config, device = rule.config, digits.images.device
    batches = epoch_batches(len(digits), epoch, config, device)
    noise = generator(config.seed, epoch, "augment", device)
    torch.manual_seed(derive_seed(config.seed, epoch, "dropout"))  # dropout takes no generator of its own
    report_every = max(1, len(batches) // REPORTS_PER_EPOCH)
    loss_sum, correct = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
    step, seen, started = (epoch - 1) * len(batches), 0, time.monotonic()
    model.train()
    for batch in batches:
        step, seen = step + 1, seen + len(batch)
        set_learning_rate(rule.optimizer, learning_rate(config, step, len(batches)))
        images = augment(to_float(digits.images[batch]), config.augment, noise)
        loss, right = train_step(model, images, digits.targets[batch], rule.loss_fn, rule.optimizer, rule.dtype)
        loss_sum += loss * len(batch)
        correct += right
        if step % report_every == 0 or stopping.out_of_time:
            yield StepResult(
                epoch=epoch,
                step=step,
                total_steps=config.epochs * len(batches),
                loss=_finite(loss_sum.item() / seen, step, rule.optimizer),
                images_per_s=seen / max(time.monotonic() - started, 1e-9),
                elapsed_s=stopping.elapsed_s,
            )
        if stopping.out_of_time:
            break
    return _Trained(
        step=step,
        loss=_finite(loss_sum.item() / seen, step, rule.optimizer),
        accuracy=correct.item() / seen,
        images_per_s=seen / max(time.monotonic() - started, 1e-9),
    )


def epoch_batches(count: int, epoch: int, config: TrainConfig, device: torch.device = CPU) -> tuple[Tensor, ...]:
    """Cut an epoch's random order of ``count`` images into batches of indices, int64, on a device.

    Every image is in one batch; the batches are at most batch_size large and equal to within one image, so that no
    small last batch weighs as much as the others.
    """
    # Drawn on the CPU: the same order on every device.
    order = torch.randperm(count, generator=generator(config.seed, epoch, "order", CPU))
    return order.to(device).tensor_split(-(-count // config.batch_size))


def _finite(loss: float, step: int, optimizer: Optimizer) -> float:
    if not math.isfinite(loss):
        rate = optimizer.param_groups[0]["lr"]
        raise DigitnetError(f"the loss is {loss} by step {step}, at a learning rate of {rate:.3g}; try a lower one")
    return loss
