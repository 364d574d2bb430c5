"""One whole run: from a configuration and digits to a run folder with checkpoints. The loop is in ``engine.py``."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch

from digitnet import __version__
from digitnet.atomic import write_atomically
from digitnet.calibration import fit_calibration
from digitnet.checkpoint import TrainingRecord, save_checkpoint
from digitnet.config import DeviceName, RunConfig
from digitnet.data.digits import Digits
from digitnet.data.load import add_strokes, load_nondigits
from digitnet.data.once import Tensors, once
from digitnet.device import choose_device, choose_precision, derive_seed, use_deterministic_algorithms
from digitnet.distributed import ALONE, World
from digitnet.engine import fit
from digitnet.errors import DataError, DigitnetError, InterruptedRunError, NotFiniteError
from digitnet.journal import Journal
from digitnet.models import DigitNet, build_model, place
from digitnet.progress import EpochResult, Result, RollbackResult, StateResult, StepResult
from digitnet.runs import BEST, LAST, WHOLE_BEST, epoch_name, write_config, write_metrics
from digitnet.snapshots import Origin, Snapshot, discard_after, load_newest, save_snapshot
from digitnet.state import Position

MAX_ROLLBACKS = 3
NOT_DETERMINISTIC = "does not have a deterministic implementation"  # as PyTorch says it


@dataclass(kw_only=True)
class Saving:
    """When the state is saved, beside the end of each epoch."""

    every_steps: int | None = None
    every_s: float | None = None
    poll_signal: Callable[[], int | None] = lambda: None
    """Asked after each step for the number of a signal that asks training to stop; None while none does."""
    _saved_s: float = 0.0

    def due(self, step: int) -> bool:
        """Say, once a step, whether the state is to be saved after it."""
        late = self.every_s is not None and time.monotonic() - self._saved_s >= self.every_s
        return self.poll_signal() is not None or late or (self.every_steps is not None and step % self.every_steps == 0)

    def note_saved(self) -> None:
        """Begin to count the time anew."""
        self._saved_s = time.monotonic()


def train_run(
    config: RunConfig,
    train: Digits,
    validation: Digits,
    folder: Path | None,
    *,
    keep_epochs: bool = False,
    resume: Snapshot | None = None,
    saving: Saving | None = None,
    world: World = ALONE,
) -> Iterator[Result]:
    """Train a network by a configuration, saving networks and states before the results that tell of them are yielded.

    Where several processes share the work, each runs this with the same arguments, and the first one saves.

    Args:
        config: The network and its training.
        train: Training digits, as ``load_training`` cut them.
        validation: The digits that the best epoch is chosen by.
        folder: The run folder; empty but for a run that goes on. None in a process that is not the first.
        keep_epochs: Keep each epoch's network, in a file of its own.
        resume: Where to go on from; of its configuration, only when to stop may have changed.
        saving: When to save the state; None is after each epoch.
        world: The processes.

    Raises:
        UsageError: The device asked for is not there.
        DataError: A run that goes on began on other digits.
        NotFiniteError: The loss or a weight is no finite number, and may not or can no longer be gone back from.
        InterruptedRunError: A signal asked training to stop; the state is saved.
        DigitnetError: Training went wrong.
        OSError: A file could not be written.
    """
    run = _Run(config, train, validation, folder, keep_epochs, resume, saving or Saving(), world)
    yield from run.train()


class _Run:
    """A run folder, what is trained in it, and how far it has come."""

    def __init__(
        self,
        config: RunConfig,
        train: Digits,
        validation: Digits,
        folder: Path | None,
        keep_epochs: bool,
        resume: Snapshot | None,
        saving: Saving,
        world: World,
    ) -> None:
        self._config, self._train, self._validation, self._folder = config, train, validation, folder
        self._keep_epochs, self._saving, self._world = keep_epochs, saving, world
        rule = config.train
        if resume:
            _check_origin(resume.origin, train)
            if resume.origin.processes == world.size:
                torch.set_num_threads(resume.origin.threads)
            rule = replace(rule, device=resume.origin.device, precision=resume.origin.precision)
        self._device = choose_device(rule.device)
        self._dtype = choose_precision(rule.precision, self._device)
        use_deterministic_algorithms(rule.deterministic)
        self._origin = resume.origin if resume else _origin(train, self._device, self._dtype, world.size)
        self._journal = resume.journal if resume else Journal()
        self._state = resume.state if resume else None
        self._elapsed_s = 0.0
        drawn = once(world, self._draw) if rule.extra_strokes or rule.nondigits else {}
        images, targets = drawn.get("images", train.images), drawn.get("targets", train.targets)
        self._digits = replace(train, images=images, targets=targets).to(self._device)
        self._nondigits = drawn["nondigits"].to(self._device) if rule.nondigits else None

    def _draw(self) -> Tensors:
        """Draw what is trained on beside the data set."""
        rule, tensors = self._config.train, Tensors()
        if rule.extra_strokes:
            more = add_strokes(self._train, rule.extra_strokes)
            tensors |= {"images": more.images, "targets": more.targets}
        if rule.nondigits:
            tensors["nondigits"] = load_nondigits(self._train, rule.nondigits)
        return tensors

    def train(self) -> Iterator[Result]:
        """Train to the end, going back to the last good state where that is asked for."""
        if self._folder:
            write_config(self._folder, self._config)
        if self._state:
            if self._folder and (self._folder / WHOLE_BEST).exists():  # a part of an epoch took its place: made whole
                (self._folder / WHOLE_BEST).replace(self._folder / BEST)
            if self._folder:
                discard_after(self._folder, self._state.position.step)
            self._journal = self._journal.until(self._state.position)
        while True:
            try:
                yield from self._train_on()
                return
            except NotFiniteError as error:
                yield self._roll_back(error)

    def _train_on(self) -> Iterator[Result]:
        """Train from the state, or from the beginning."""
        model = place(new_model(self._config, self._train), self._device)
        self._saving.note_saved()
        results = fit(
            model,
            self._digits,
            self._validation.to(self._device),
            self._config.train,
            self._dtype,
            self._nondigits,
            resume=self._state,
            save_due=self._saving.due,
            world=self._world,
        )
        for result in _faults_named(results):
            self._journal = self._journal.add(result)
            if isinstance(result, StepResult | EpochResult):
                self._elapsed_s = result.elapsed_s
            if isinstance(result, EpochResult):
                self._save_networks(result, model)
            elif isinstance(result, StateResult):
                self._save_state(result)
            yield result
            if isinstance(result, StateResult):
                self._heed_signal(result.state.position)

    def _heed_signal(self, position: Position) -> None:
        """End a run whose state is saved and that a signal asks to stop, unless it has just ended by itself."""
        # A signal may have come to one process alone.
        number = max(self._world.gather(self._saving.poll_signal() or 0))
        if number and position.stop is None:
            raise InterruptedRunError(f"interrupted after step {position.step:,}, and saved", number)

    def _save_networks(self, result: EpochResult, model: DigitNet) -> None:
        if self._folder is None:
            return
        record = _record(result, self._train, self._validation, self._origin)
        calibration = fit_calibration(result.logits.cpu(), self._validation.targets.cpu())
        if result.best and not result.whole and (self._folder / BEST).exists():
            write_atomically(self._folder / WHOLE_BEST, (self._folder / BEST).read_bytes())
        names = [LAST, *[BEST] * result.best, *[epoch_name(result.epoch)] * self._keep_epochs]
        for name in names:
            save_checkpoint(self._folder / name, self._config, record, calibration, model)
        write_metrics(self._folder, self._journal.metrics())

    def _save_state(self, result: StateResult) -> None:
        if self._folder is not None:
            snapshot = Snapshot(config=self._config, origin=self._origin, journal=self._journal, state=result.state)
            save_snapshot(self._folder, snapshot)
        self._saving.note_saved()

    def _roll_back(self, error: NotFiniteError) -> RollbackResult:
        """Go back to the last good state, at half the rate.

        Raises:
            NotFiniteError: That is not asked for, or has been done too often.
        """
        if self._config.train.on_nan != "rollback":
            raise error
        last = self._world.broadcast(load_newest(self._folder).snapshot if self._folder else None)
        if last is None:
            raise error
        position = last.state.position
        if len(position.rollbacks) >= MAX_ROLLBACKS:
            raise NotFiniteError(f"{error}; the rate has been halved {MAX_ROLLBACKS} times") from error
        position = replace(position, rollbacks=(*position.rollbacks, position.step), stop=None)
        position = replace(position, elapsed_s=max(position.elapsed_s, self._elapsed_s))  # what was lost took time, too
        self._journal, self._state = last.journal.until(position), replace(last.state, position=position)
        if self._folder is not None:
            discard_after(self._folder, position.step)
            save_snapshot(self._folder, replace(last, config=self._config, journal=self._journal, state=self._state))
        return RollbackResult(reason=str(error), step=position.step, factor=0.5 ** len(position.rollbacks))


def _check_origin(origin: Origin, train: Digits) -> None:
    for what, expected, found in (
        ("fingerprint", origin.fingerprint, train.fingerprint),
        ("validation split", origin.split_hash, train.split_hash or ""),
        ("training images", origin.train_size, len(train)),
    ):
        if expected != found:
            raise DataError(
                f"{train.name} has changed since the run began, which cannot go on with other digits: "
                f"expected {what} {expected}, found {found}"
            )


def _origin(train: Digits, device: torch.device, dtype: torch.dtype, processes: int) -> Origin:
    return Origin(
        dataset=train.name,
        fingerprint=train.fingerprint,
        train_size=len(train),
        split_hash=train.split_hash or "",
        device=cast(DeviceName, device.type),
        precision="bf16" if dtype == torch.bfloat16 else "fp32",
        threads=torch.get_num_threads(),
        processes=processes,
        python=platform.python_version(),
        torch=torch.__version__,
        digitnet=__version__,
    )


def _faults_named(results: Iterator[Result]) -> Iterator[Result]:
    try:
        yield from results
    except torch.OutOfMemoryError as error:
        raise DigitnetError("a batch does not fit in the device's memory; try a smaller --batch-size") from error
    except RuntimeError as error:
        if NOT_DETERMINISTIC not in str(error):
            raise
        raise DigitnetError(f"leave out --deterministic: {str(error).partition('.')[0]}") from error


def new_model(config: RunConfig, train: Digits) -> DigitNet:
    """Build a network with random weights that follow from the seed, and normalisation from the training images."""
    torch.manual_seed(derive_seed(config.train.seed, 0, "weights"))
    model = build_model(config.model)
    model.set_normalisation(train.images)
    return model


def _record(result: EpochResult, train: Digits, validation: Digits, origin: Origin) -> TrainingRecord:
    return TrainingRecord(
        dataset=train.name,
        fingerprint=train.fingerprint,
        train_size=len(train),
        validation_size=len(validation),
        split_hash=train.split_hash or "",
        epoch=result.epoch,
        step=result.step,
        validation_loss=result.validation.loss,
        validation_accuracy=result.validation.accuracy,
        elapsed_s=result.elapsed_s,
        device=origin.device,
        precision=origin.precision,
        digitnet=__version__,
        torch=torch.__version__,
    )
