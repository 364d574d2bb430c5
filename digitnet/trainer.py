"""An epoch of training, step by step, and the state between any two steps. The loop over epochs is in ``engine.py``."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from digitnet.capture import CapturedStep
from digitnet.config import TrainConfig
from digitnet.data.augment import Part, augment
from digitnet.data.digits import Digits
from digitnet.data.order import Batches, part_start
from digitnet.data.stage import Stage
from digitnet.device import derive_seed, generator
from digitnet.distributed import ALONE, World
from digitnet.errors import CheckpointError, LaunchError, NotFiniteError
from digitnet.gauge import Gauge
from digitnet.losses import build_loss, weighted, with_nondigits
from digitnet.models import DigitNet, to_float
from digitnet.optim import (
    WeightAverage,
    build_optimizer,
    is_capturable,
    learning_rate,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from digitnet.parallel import Exchange, has_batch_norm, parallelise
from digitnet.progress import StateResult, StepResult
from digitnet.state import Position, TrainingState, hash_tensors, named
from digitnet.step import train_step
from digitnet.stopping import Stopping, StopReason

CPU = torch.device("cpu")
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
    """The images, the model and the rule of a run, and what its steps share: the same memory on the device."""

    def __init__(
        self,
        model: DigitNet,
        digits: Digits,
        nondigits: Tensor | None,
        config: TrainConfig,
        dtype: torch.dtype,
        resume: TrainingState | None,
        world: World = ALONE,
    ) -> None:
        self._device = device = model.mean.device
        self._stage = None if digits.device == device else Stage(digits, config.batch_size, device)
        self._digits = self._stage.digits if self._stage else digits
        self._announce = digits.announce
        self._nondigits, self._config, self._dtype, self._world = nondigits, config, dtype, world
        self._model = model
        self._trained = model if config.weight_average is None else copy.deepcopy(model)
        decay = config.weight_average
        self._shared = self._trained if world.size == 1 else parallelise(self._trained)
        self._exchange = Exchange(self._shared, 3) if isinstance(self._shared, DistributedDataParallel) else None
        self._average = None if decay is None else WeightAverage(model, self._trained, decay)
        self._loss_fn = build_loss(config.loss, config.label_smoothing)
        self._optimizer = build_optimizer(self._trained, config)
        self._noise = torch.Generator(device)
        self._loss_sum = torch.zeros((), device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        captured = device.type == "cuda" and is_capturable(self._optimizer) and world.size == 1
        self._run_step = CapturedStep(self._step, [self._noise]) if captured else self._step
        self._count = len(digits)
        self._steps_per_epoch = -(-self._count // config.batch_size)
        self._total_steps = config.total_steps(self._steps_per_epoch)
        self.epochs = -(-self._total_steps // self._steps_per_epoch)
        self._position = Position(planned=self._total_steps)
        self._check_parts()
        if resume:
            self._restore(resume)

    def _check_parts(self) -> None:
        """Refuse batches in which there is not enough for each process.

        Raises:
            LaunchError: There is not.
        """
        least = 2 if has_batch_norm(self._model) else 1  # one image has no variance
        smallest, processes = len(self._digits) // self._steps_per_epoch, self._world.size
        if processes > 1 and smallest // processes < least:
            raise LaunchError(
                f"a batch of {smallest} images is too small for {processes} processes: each needs at least {least}"
                f"{', for batch norm' * (least > 1)}; use a larger --batch-size"
            )

    def _step(self, batch: Tensor, others: Tensor | None = None) -> None:
        """Train on a batch, or on this process's part of it, adding up its loss and its right answers on the device.

        A part's loss counts for what it is of the batch, times the processes: their mean, as gradients are averaged, is
        the loss of the batch.

        Args:
            batch: Which digits, (N,) int64.
            others: Which of the images that are no digits, (M,) int64.
        """
        config, world = self._config, self._world
        mine = world.share(batch)
        images, targets = self._digits.images[mine], self._digits.targets[mine]
        loss_fn = weighted(self._loss_fn, world.size * len(mine) / len(batch))
        if self._nondigits is not None and others is not None:
            images = torch.cat([images, self._nondigits[world.share(others)]])
            loss_fn = with_nondigits(loss_fn, world.size * len(images) / (len(batch) + len(others)))
        images = augment(to_float(images), config.augment, self._noise, self._part(batch, others))
        loss, right = train_step(
            self._shared, images, targets, loss_fn, self._optimizer, self._dtype, config.max_grad_norm
        )
        self._loss_sum += loss * (len(batch) / world.size)
        self._correct += right
        if self._exchange is not None:
            self._exchange.end()
        if self._average is not None:
            self._average.update()

    def _part(self, batch: Tensor, others: Tensor | None) -> Part | None:
        """Say which of a batch's images this process has; None where it has them all."""
        if self._world.size == 1 or self._config.augment == "none":
            return None
        numbers = torch.arange(len(batch) + (0 if others is None else len(others)), device=batch.device)
        mine = [self._world.share(part) for part in numbers.tensor_split([len(batch)])]
        return Part(count=len(numbers), mine=torch.cat(mine))

    def train_epoch(
        self, epoch: int, stopping: Stopping, save_due: Callable[[int], bool] | None
    ) -> Generator[StepResult | StateResult, None, Trained]:
        """Pass once over the training images, or over what is left, or as far as the steps or the time budget last."""
        started, first = time.monotonic(), (epoch - 1) * self._steps_per_epoch
        batches = epoch_batches(self._count, epoch, self._config)
        done = self._position.step - first  # more than none where training goes on from within the epoch
        planned = min(len(batches), self._total_steps - first)
        if done == 0:
            self._begin(epoch)
        before = seen = batches.start(done)
        gauge = Gauge(self._loss_sum)
        report_every = max(1, planned // REPORTS_PER_EPOCH)
        self._trained.train()
        taken = islice(self._batches(batches, epoch, done), planned - done)
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
        loss_sum, correct = self._sums()
        return Trained(
            step=step,
            learning_rate=self._rate(step),
            loss=self.check(loss_sum.item() / seen, step),
            accuracy=correct.item() / seen,
            images_per_s=(seen - before) / max(time.monotonic() - started, 1e-9),
            whole=step == epoch * self._steps_per_epoch,
        )

    def _begin(self, epoch: int) -> None:
        """Make ready for an epoch: its randomness, and sums that are nothing yet."""
        seed = self._config.seed
        self._noise.manual_seed(derive_seed(seed, epoch, "augment"))
        torch.manual_seed(derive_seed(seed, epoch, "dropout"))  # dropout takes no generator of its own
        self._loss_sum.zero_()
        self._correct.zero_()

    def _take_step(
        self, step: int, batch: tuple[Tensor, ...], stopping: Stopping, save_due: Callable[[int], bool] | None
    ) -> tuple[bool, bool]:
        """Make a step; say whether time is up after it, and whether the state is to be saved."""
        set_learning_rate(self._optimizer, self._rate(step))
        if self._average is not None:
            self._average.set_step(step)
        if self._exchange is None:
            self._run_step(*batch)
            loss_sum = self._loss_so_far()
            out_of_time, due = stopping.out_of_time, save_due is not None and save_due(step)
        else:
            # What one process finds holds for all. They tell each other within the step: to do so after it takes time.
            torch.manual_seed(derive_seed(self._config.seed, step, f"dropout of process {self._world.rank}"))
            self._exchange.begin(self._loss_so_far(), stopping.out_of_time, save_due is not None and save_due(step))
            self._run_step(*batch)
            loss_sum, *found = self._exchange.sums()
            out_of_time, due = map(bool, found)
        self._position = replace(self._position, step=step)
        self.check(loss_sum, step)
        if save_due is not None and step in HASHED_STEPS and self._position.planned == self._total_steps:
            hashed = hash_tensors(self._trained.state_dict())
            self._position = replace(self._position, hashes=(*self._position.hashes, hashed))
        return out_of_time, due

    def _loss_so_far(self) -> float:
        """Look at the sum of the losses where that costs nothing: not on a GPU, for which the host would wait."""
        return self._loss_sum.item() if self._device.type == "cpu" else 0.0

    def _sums(self) -> tuple[Tensor, Tensor]:
        """Return the loss and the right answers of the epoch so far, added up over all processes."""
        for number in (self._loss_sum, self._correct):
            self._world.sum_(number)
        sums = self._loss_sum.clone(), self._correct.clone()
        self._set_sums(*sums)
        return sums

    def _set_sums(self, loss: Tensor, correct: Tensor) -> None:
        """Let the first process go on counting from here and the others anew, as if all had just been restored."""
        self._loss_sum.copy_(loss).mul_(self._world.is_first)
        self._correct.copy_(correct).mul_(self._world.is_first)

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
        self.check_weights()
        return TrainingState(
            position=replace(self._position, elapsed_s=stopping.elapsed_s, stop=stop), tensors=self._tensors()
        )

    def _tensors(self) -> dict[str, Tensor]:
        loss_sum, correct = self._sums()
        self.check(loss_sum.item(), self._position.step)
        trained = {} if self._average is None else named("trained", self._trained.state_dict())
        return {
            **named("model", self._model.state_dict()),
            **trained,
            **named("optimizer", optimizer_tensors(self._optimizer)),
            "random.augment": self._noise.get_state(),
            "random.dropout": _default_random(self._device).get_rng_state(),
            "sum.loss": loss_sum,
            "sum.correct": correct,
        }

    def _restore(self, state: TrainingState) -> None:
        self._position = position = replace(state.position, stop=None)
        if not 0 <= position.step - position.epoch * self._steps_per_epoch <= self._steps_per_epoch:
            raise CheckpointError(
                f"the state is after step {position.step} in epoch {position.epoch + 1}, and an epoch of these images "
                f"has {self._steps_per_epoch} steps"
            )
        tensors = state.tensors
        self._model.load_state_dict(state.part("model"))
        if self._average is not None:
            self._trained.load_state_dict(state.part("trained"))
        load_optimizer_tensors(self._optimizer, state.part("optimizer"))
        try:
            self._noise.set_state(tensors["random.augment"])
            _default_random(self._device).set_rng_state(tensors["random.dropout"])
        except RuntimeError as error:  # of another size, or no state that the generator could be in
            raise CheckpointError(f"the state's random generators are not a {self._device.type}'s: {error}") from error
        self._set_sums(tensors["sum.loss"], tensors["sum.correct"])

    def _batches(self, batches: Batches, epoch: int, done: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield what is left of an epoch: indices of digits, and of what are no digits if there are any, evenly."""
        digits = batches.begin(done, CPU if self._stage else self._device, self._announce)
        if self._stage:
            digits = map(self._stage.bring, digits)
        if self._nondigits is None:
            yield from ((batch,) for batch in digits)
            return
        order = torch.randperm(len(self._nondigits), generator=generator(self._config.seed, epoch, "nondigits", CPU))
        order = order.to(self._device)
        starts = (part_start(len(order), len(batches), number) for number in range(done, len(batches) + 1))
        for batch, (start, stop) in zip(digits, pairwise(starts), strict=True):
            yield batch, order[start:stop]

    def _report(self, gauge: Gauge, epoch: int, seen: int, images_per_s: float, stopping: Stopping) -> StepResult:
        loss_sum, counted = gauge.read(seen) if self._world.size == 1 else (self._sums()[0].item(), seen)
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
        if not all(bool(tensor.isfinite().all()) for tensor in self._trained.state_dict().values()):
            raise NotFiniteError(self._went_wrong("a weight is no finite number", self._position.step))

    def _went_wrong(self, what: str, step: int) -> str:
        return f"{what} by step {step}, at a learning rate of {self._rate(step):.3g}; try a lower one"


def _default_random(device: torch.device) -> Any:
    """Return what holds the device's default random generator, which dropout draws from."""
    return torch if device.type == "cpu" else torch.get_device_module(device)


def epoch_batches(count: int, epoch: int, config: TrainConfig) -> Batches:
    """Cut an epoch's random order of ``count`` images into batches, which are made as they are asked for."""
    seed = derive_seed(config.seed, epoch, "order")
    return Batches(count=count, batch_size=config.batch_size, window=config.shuffle_window, seed=seed)
