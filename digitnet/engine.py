"""The training loop: train for an epoch, evaluate, choose the best. Silent: it yields values, and prints nothing.

An epoch is in ``trainer.py``, a step in ``step.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from digitnet.config import NUM_CLASSES, TrainConfig
from digitnet.data.digits import Digits
from digitnet.distributed import ALONE, World
from digitnet.evaluation import count, logits_of
from digitnet.losses import build_loss
from digitnet.metrics import Metrics, standard_error
from digitnet.models import DigitNet
from digitnet.progress import EpochResult, Result, StateResult
from digitnet.state import Position, TrainingState
from digitnet.stepper import Stepper
from digitnet.stopping import Stopping, StopReason
from digitnet.trainer import Trained, Trainer


def fit(
    model: DigitNet,
    train: Digits,
    validation: Digits,
    config: TrainConfig,
    dtype: torch.dtype = torch.float32,
    nondigits: Tensor | None = None,
    *,
    resume: TrainingState | None = None,
    save_due: Callable[[int], bool] | None = None,
    world: World = ALONE,
) -> Iterator[Result]:
    """Train a model in place, yielding what happens as it happens.

    The order of each epoch, its augmentation and its dropout follow from (seed, epoch) alone. After an EpochResult is
    yielded, the model may be saved; it is not touched until the next one is asked for. On a GPU the host waits for the
    device at the end of an epoch only; with ``save_due`` also where a state is due, and where ``HASHED_STEPS`` of the
    trainer have weights hashed; where several processes share the work, also to report.

    Args:
        model: On the device of the digits. With a weight_average, it gets the mean, and a copy of it is trained.
        train: What to train on.
        validation: What the best epoch is chosen by.
        config: The rule; its device and precision are the caller's to honour, by where the digits are and ``dtype``.
        dtype: What matrix products run in.
        nondigits: Images of what are no digits, (M, 1, 28, 28) uint8 on that device: each epoch passes over them, too.
        resume: The state to go on from, as if training had never stopped; the rest has to be what it was.
        save_due: Asked after each step, by its number, whether to yield the state there; with it, the state is yielded
            before the first step and after each epoch, too. None yields no states.
        world: The processes that share the work; each runs this with the same arguments, and gets the same results.

    Raises:
        NotFiniteError: The loss or a weight is no longer a finite number.
        CheckpointError: The state to go on from does not fit.
    """
    position = resume.position if resume else Position()
    stopping = Stopping(
        config,
        started=time.monotonic() - position.elapsed_s,
        lowest_loss=position.lowest_loss,
        waited=position.waited,
    )
    trainer = Trainer(Stepper(model, train, nondigits, config, dtype, world), resume)
    validation_loss_fn = build_loss(config.loss)  # smoothing is for training
    highest = position.highest
    if save_due is not None and resume is None:
        yield StateResult(state=trainer.state(stopping))
    for epoch in range(position.epoch + 1, trainer.epochs + 1):
        trained = yield from trainer.train_epoch(epoch, stopping, save_due)
        logits = _shared_logits(model, validation.images, dtype, world)
        metrics = count(logits, validation.targets, validation_loss_fn)
        trainer.check(metrics.loss, trained.step)
        trainer.check_weights()  # before anybody saves them
        slack = standard_error(highest, metrics.count) if config.patience is None else 0.0
        is_best = metrics.accuracy >= highest - slack
        highest = max(highest, metrics.accuracy)
        reasons = world.gather(stopping.reason(metrics, last=epoch == trainer.epochs))
        stop = next((reason for reason in reasons if reason), None)  # the clocks of processes differ
        yield _result(epoch, trainer.epochs, trained, logits, metrics, is_best, stopping.elapsed_s, stop)
        trainer.end_epoch(epoch, highest, stopping)
        if save_due is not None:
            yield StateResult(state=trainer.state(stopping, stop))
        if stop:
            return


def _shared_logits(model: DigitNet, images: Tensor, dtype: torch.dtype, world: World) -> Tensor:
    """Run a model over images as ``logits_of`` does, each process over its part; all of them get all logits."""
    if world.size == 1:
        return logits_of(model, images, dtype)
    logits = torch.zeros(len(images), NUM_CLASSES, device=images.device)
    mine = world.share(torch.arange(len(images), device=images.device))
    if len(mine):
        logits[mine] = logits_of(model, images[mine], dtype)
    return world.sum_(logits)


def _result(
    epoch: int,
    epochs: int,
    trained: Trained,
    logits: Tensor,
    metrics: Metrics,
    is_best: bool,
    elapsed_s: float,
    stop: StopReason | None,
) -> EpochResult:
    return EpochResult(
        epoch=epoch,
        epochs=epochs,
        step=trained.step,
        learning_rate=trained.learning_rate,
        train_loss=trained.loss,
        train_accuracy=trained.accuracy,
        validation=metrics,
        logits=logits,
        best=is_best,
        images_per_s=trained.images_per_s,
        elapsed_s=elapsed_s,
        stop=stop,
        whole=trained.whole,
    )
