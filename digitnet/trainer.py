"""An epoch of training, step by step, and the state between any two steps.

The loop over epochs is in ``engine.py``, what a step consists of in ``stepper.py``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from itertools import islice

from torch import Tensor

from digitnet.config import TrainConfig
from digitnet.data.order import Batches
from digitnet.device import derive_seed
from digitnet.errors import CheckpointError, NotFiniteError
from digitnet.gauge import Gauge
from digitnet.optim import learning_rate
from digitnet.progress import StateResult, StepResult
from digitnet.state import Position, TrainingState, hash_tensors
from digitnet.stepper import Stepper
from digitnet.stopping import Stopping, StopReason

REPORTS_PER_EPOCH = 20  # how often the loss is fetched from the device for the bar
HASHED_STEPS = (1, 2, 4, 8, 16)  # after which the trained weights are hashed, for others to compare theirs with


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What one pass over the training images came to."""

    step: int
    learning_rate: float
    loss: float
    accuracy: float
    images_per_s: float
    whole: bool
    """Whether it was over all of them."""


class Trainer:
    """The steps of a run, one after the other, and how far it has come."""

    def __init__(self, stepper: Stepper, resume: TrainingState | None = None) -> None:
        self._stepper, self._config, self._world = stepper, stepper.config, stepper.world
        self._steps_per_epoch = self._stepper.batches_per_epoch
        self._total_steps = self._config.total_steps(self._steps_per_epoch)
        self.epochs = -(-self._total_steps // self._steps_per_epoch)
        self._position = Position(planned=self._total_steps)
        if resume:
            self._restore(resume)

    def train_epoch(
        self, epoch: int, stopping: Stopping, save_due: Callable[[int], bool] | None
    ) -> Generator[StepResult | StateResult, None, Trained]:
        """Pass once over the training images, or over what is left, or as far as the steps or the time budget last."""
        started, first = time.monotonic(), (epoch - 1) * self._steps_per_epoch
        batches = epoch_batches(self._stepper.count, epoch, self._config)
        done = self._position.step - first  # more than none where training goes on from within the epoch
        planned = min(len(batches), self._total_steps - first)
        if done == 0:
            self._stepper.begin(epoch)
        before = seen = batches.start(done)
        gauge = Gauge(self._stepper.loss_sum)
        report_every = max(1, planned // REPORTS_PER_EPOCH)
        self._stepper.trained.train()
        taken = islice(self._stepper.batches(batches, epoch, done), planned - done)
        for step, batch in enumerate(taken, start=self._position.step + 1):
            out_of_time, due = self._take_step(step, batch, stopping, save_due)
            seen += len(batch[0])
            speed = (seen - before) / max(time.monotonic() - started, 1e-9)
            if step % report_every == 0 or out_of_time:
                yield self._report(gauge, epoch, seen, speed, stopping)
            if due:
                yield StateResult(state=self.state(stopping))
            if out_of_time:
                break
        step = self._position.step
        loss_sum, correct = self._stepper.sums()
        return Trained(
            step=step,
            learning_rate=self._rate(step),
            loss=self.check(loss_sum.item() / seen, step),
            accuracy=correct.item() / seen,
            images_per_s=(seen - before) / max(time.monotonic() - started, 1e-9),
            whole=step == epoch * self._steps_per_epoch,
        )

    def _take_step(
        self, step: int, batch: tuple[Tensor, ...], stopping: Stopping, save_due: Callable[[int], bool] | None
    ) -> tuple[bool, bool]:
        """Make a step; say whether time is up after it, and whether the state is to be saved."""
        stepper, rate = self._stepper, self._rate(step)
        if self._world.size == 1:
            stepper.step(step, rate, batch)
            loss_sum, _ = stepper.told()
            out_of_time, due = stopping.out_of_time, save_due is not None and save_due(step)
        else:  # what one process finds holds for all
            stepper.tell(stopping.out_of_time, save_due is not None and save_due(step))
            stepper.step(step, rate, batch)
            loss_sum, (out_of_time, due) = stepper.told()
        self._position = replace(self._position, step=step)
        self.check(loss_sum, step)
        if save_due is not None and step in HASHED_STEPS and self._position.planned == self._total_steps:
            hashed = hash_tensors(stepper.trained.state_dict())
            self._position = replace(self._position, hashes=(*self._position.hashes, hashed))
        return out_of_time, due

    def _rate(self, step: int) -> float:
        halved = sum(step > back for back in self._position.rollbacks)
        return learning_rate(self._config, step, self._steps_per_epoch) * 0.5**halved

    def end_epoch(self, epoch: int, highest: float, stopping: Stopping) -> None:
        """Note what a whole epoch came to; one that was cut short may be gone on with."""
        if self._position.step == epoch * self._steps_per_epoch:
            self._position = replace(
                self._position,
                epoch=epoch,
                highest=highest,
                lowest_loss=stopping.lowest_loss,
                waited=stopping.waited,
            )

    def state(self, stopping: Stopping, stop: StopReason | None = None) -> TrainingState:
        """Return the state after the last step.

        Raises:
            NotFiniteError: It is none to go on from.
        """
        tensors = self._stepper.tensors()
        self.check(tensors["sum.loss"].item(), self._position.step)
        self.check_weights()
        return TrainingState(position=replace(self._position, elapsed_s=stopping.elapsed_s, stop=stop), tensors=tensors)

    def _restore(self, state: TrainingState) -> None:
        self._position = position = replace(state.position, stop=None)
        if not 0 <= position.step - position.epoch * self._steps_per_epoch <= self._steps_per_epoch:
            raise CheckpointError(
                f"the state is after step {position.step} in epoch {position.epoch + 1}, and an epoch of these images "
                f"has {self._steps_per_epoch} steps"
            )
        self._stepper.restore(state)

    def _report(self, gauge: Gauge, epoch: int, seen: int, images_per_s: float, stopping: Stopping) -> StepResult:
        loss_sum, counted = gauge.read(seen) if self._world.size == 1 else (self._stepper.sums()[0].item(), seen)
        step = self._position.step
        return StepResult(
            epoch=epoch,
            epochs=self.epochs,
            step=step,
            total_steps=self._total_steps,
            learning_rate=self._rate(step),
            loss=self.check(loss_sum / counted, step) if counted else None,
            counted=counted,
            images_per_s=images_per_s,
            elapsed_s=stopping.elapsed_s,
        )

    def check(self, loss: float, step: int) -> float:
        """Return the loss.

        Raises:
            NotFiniteError: It is no finite number.
        """
        if not math.isfinite(loss):
            raise NotFiniteError(self._went_wrong(f"the loss is {loss}", step))
        return loss

    def check_weights(self) -> None:
        """Look at all that is trained, and at the statistics of batch normalisation.

        Raises:
            NotFiniteError: One is no finite number.
        """
        if not self._stepper.is_finite():
            raise NotFiniteError(self._went_wrong("a weight is no finite number", self._position.step))

    def _went_wrong(self, what: str, step: int) -> str:
        return f"{what} by step {step}, at a learning rate of {self._rate(step):.3g}; try a lower one"


def epoch_batches(count: int, epoch: int, config: TrainConfig) -> Batches:
    """Cut an epoch's random order of ``count`` images into batches, which are made as they are asked for."""
    seed = derive_seed(config.seed, epoch, "order")
    return Batches(count=count, batch_size=config.batch_size, window=config.shuffle_window, seed=seed)
