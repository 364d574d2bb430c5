"""What is trained, and all that a step of it needs: images, network, optimizer, randomness; on one device.

What comes when is in ``trainer.py``; forward, loss, backward and update are in ``step.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from digitnet.capture import CapturedStep
from digitnet.config import TrainConfig
from digitnet.data.augment import Part, augment
from digitnet.data.digits import Digits
from digitnet.data.order import CPU, Batches, part_start
from digitnet.data.stage import Stage
from digitnet.device import derive_seed, generator
from digitnet.distributed import World
from digitnet.errors import CheckpointError, LaunchError
from digitnet.losses import build_loss, weighted, with_nondigits
from digitnet.models import DigitNet, to_float
from digitnet.optim import (
    WeightAverage,
    build_optimizer,
    is_capturable,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from digitnet.parallel import Exchange, has_batch_norm, parallelise
from digitnet.state import TrainingState, named
from digitnet.step import train_step

FLAGS = 2  # that the processes tell each other at each step, beside the loss


class Stepper:
    """Makes steps. Each reads and writes the same memory on the device, as one that is captured has to."""

    def __init__(
        self,
        model: DigitNet,
        digits: Digits,
        nondigits: Tensor | None,
        config: TrainConfig,
        dtype: torch.dtype,
        world: World,
    ) -> None:
        self._device = device = model.mean.device
        self._stage = None if digits.device == device else Stage(digits, config.batch_size, device)
        self._digits = self._stage.digits if self._stage else digits
        self._announce = digits.announce
        self._nondigits, self._dtype = nondigits, dtype
        self.config, self.world, self.count = config, world, len(digits)
        self.batches_per_epoch = -(-self.count // config.batch_size)
        self._check_parts(self.count // self.batches_per_epoch, has_batch_norm(model))
        self._model = model
        decay = config.weight_average
        self.trained = model if decay is None else copy.deepcopy(model)
        """What is trained: the model, or a copy of it where that gets the mean of its weights."""
        self._shared = self.trained if world.size == 1 else parallelise(self.trained)
        self._exchange = (
            Exchange(self._shared, 1 + FLAGS) if isinstance(self._shared, DistributedDataParallel) else None
        )
        self._average = None if decay is None else WeightAverage(model, self.trained, decay)
        self._loss_fn = build_loss(config.loss, config.label_smoothing)
        self._optimizer = build_optimizer(self.trained, config)
        self._noise = torch.Generator(device)
        self.loss_sum = torch.zeros((), device=device)
        """Of the epoch so far, over its digits; with several processes, what this one adds to it."""
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        captured = device.type == "cuda" and is_capturable(self._optimizer) and world.size == 1
        self._run = CapturedStep(self._step, [self._noise]) if captured else self._step

    def _check_parts(self, smallest: int, normed: bool) -> None:
        """Refuse batches in which there is not enough for each process.

        Raises:
            LaunchError: There is not.
        """
        least, processes = 2 if normed else 1, self.world.size  # one image has no variance
        if processes > 1 and smallest // processes < least:
            raise LaunchError(
                f"a batch of {smallest} images is too small for {processes} processes: each needs at least {least}"
                f"{', for batch norm' * normed}; use a larger --batch-size"
            )

    def batches(self, batches: Batches, epoch: int, done: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield what is left of an epoch: indices of digits, and of what are no digits if there are any, evenly."""
        digits = batches.begin(done, CPU if self._stage else self._device, self._announce)
        if self._stage:
            digits = map(partial(self._stage.bring, share=self.world.share), digits)
        if self._nondigits is None:
            yield from ((batch,) for batch in digits)
            return
        order = torch.randperm(len(self._nondigits), generator=generator(self.config.seed, epoch, "nondigits", CPU))
        order = order.to(self._device)
        starts = (part_start(len(order), len(batches), number) for number in range(done, len(batches) + 1))
        for batch, (start, stop) in zip(digits, pairwise(starts), strict=True):
            yield batch, order[start:stop]

    def begin(self, epoch: int) -> None:
        """Make ready for an epoch: its randomness, and sums that are nothing yet."""
        seed = self.config.seed
        self._noise.manual_seed(derive_seed(seed, epoch, "augment"))
        torch.manual_seed(derive_seed(seed, epoch, "dropout"))  # dropout takes no generator of its own
        self.loss_sum.zero_()
        self._correct.zero_()

    def step(self, number: int, rate: float, batch: tuple[Tensor, ...]) -> None:
        """Make a step, counted from 1, at a learning rate, on what ``batches`` yields."""
        set_learning_rate(self._optimizer, rate)
        if self._average is not None:
            self._average.set_step(number)
        if self.world.size > 1:  # each drops other units, whatever was done before
            seed = derive_seed(self.config.seed, number, f"dropout of process {self.world.rank}")
            # torch.manual_seed does so for all kinds of devices, and notes for each where in the code it was asked to.
            _default_generator(self._device).manual_seed(seed)
        self._run(*batch)

    def tell(self, *flags: bool) -> None:
        """Say what the next step is to tell the other processes: within it, as to do so by itself takes time."""
        if self._exchange is not None:
            self._exchange.begin(self._loss_so_far(), *flags)

    def told(self) -> tuple[float, list[bool]]:
        """Return the sum of all processes' losses, and which flags any of them has told; on a GPU, 0 for the loss."""
        if self._exchange is None:
            return self._loss_so_far(), []
        loss, *flags = self._exchange.sums()
        return loss, [flag > 0 for flag in flags]

    def _loss_so_far(self) -> float:
        """Look at the sum of the losses where that costs nothing: not on a GPU, for which the host would wait."""
        return self.loss_sum.item() if self._device.type == "cpu" else 0.0

    def _step(self, batch: Tensor, others: Tensor | None = None) -> None:
        """Train on a batch, or on this process's part of it, adding up its loss and its right answers on the device.

        A part's loss counts for what it is of the batch, times the processes: their mean, as gradients are averaged, is
        the loss of the batch.

        Args:
            batch: Which digits, (N,) int64.
            others: Which of the images that are no digits, (M,) int64.
        """
        config, world = self.config, self.world
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
        self.loss_sum += loss * (len(batch) / world.size)
        self._correct += right
        if self._exchange is not None:
            self._exchange.end()
        if self._average is not None:
            self._average.update()

    def _part(self, batch: Tensor, others: Tensor | None) -> Part | None:
        """Say which of a batch's images this process has; None where it has them all."""
        if self.world.size == 1 or self.config.augment == "none":
            return None
        numbers = torch.arange(len(batch) + (0 if others is None else len(others)), device=batch.device)
        mine = [self.world.share(part) for part in numbers.tensor_split([len(batch)])]
        return Part(count=len(numbers), mine=torch.cat(mine))

    def sums(self) -> tuple[Tensor, Tensor]:
        """Return the loss and the right answers of the epoch so far, added up over all processes."""
        for number in (self.loss_sum, self._correct):
            self.world.sum_(number)
        sums = self.loss_sum.clone(), self._correct.clone()
        self._set_sums(*sums)
        return sums

    def _set_sums(self, loss: Tensor, correct: Tensor) -> None:
        """Let the first process go on counting from here and the others anew, as if all had just been restored."""
        self.loss_sum.copy_(loss).mul_(self.world.is_first)
        self._correct.copy_(correct).mul_(self.world.is_first)

    def is_finite(self) -> bool:
        """Say whether all that is trained, and the statistics of batch normalisation, are finite numbers."""
        return all(bool(tensor.isfinite().all()) for tensor in self.trained.state_dict().values())

    def tensors(self) -> dict[str, Tensor]:
        """Return all that it consists of, by its names in a state."""
        loss_sum, correct = self.sums()
        trained = {} if self._average is None else named("trained", self.trained.state_dict())
        return {
            **named("model", self._model.state_dict()),
            **trained,
            **named("optimizer", optimizer_tensors(self._optimizer)),
            "random.augment": self._noise.get_state(),
            "random.dropout": _default_generator(self._device).get_state(),
            "sum.loss": loss_sum,
            "sum.correct": correct,
        }

    def restore(self, state: TrainingState) -> None:
        """Become what it was when a state was made.

        Raises:
            CheckpointError: The state does not fit.
        """
        tensors = state.tensors
        self._model.load_state_dict(state.part("model"))
        if self._average is not None:
            self.trained.load_state_dict(state.part("trained"))
        load_optimizer_tensors(self._optimizer, state.part("optimizer"))
        try:
            self._noise.set_state(tensors["random.augment"])
            _default_generator(self._device).set_state(tensors["random.dropout"])
        except RuntimeError as error:  # of another size, or no state that the generator could be in
            raise CheckpointError(f"the state's random generators are not a {self._device.type}'s: {error}") from error
        self._set_sums(tensors["sum.loss"], tensors["sum.correct"])


def _default_generator(device: torch.device) -> torch.Generator:
    """Return the device's default random generator, which dropout draws from."""
    match device.type:
        case "cpu":
            return torch.default_generator
        case "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]
            return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
        case _:
            return torch.mps._get_default_mps_generator()
