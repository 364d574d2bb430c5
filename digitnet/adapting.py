"""Adapting a network to one hand: short fine-tunes on a few labelled pictures, judged by pictures kept out of them.

Silent: it drives the loop in ``engine.py``, and yields values. So that nothing is forgotten, most of what is trained on
is what the network was trained on before. Source: Robins, "Catastrophic forgetting, rehearsal and pseudorehearsal"
(1995).
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from digitnet import __version__
from digitnet.calibration import Calibration, fit_calibration
from digitnet.checkpoint import Adaptation, Checkpoint, save_checkpoint
from digitnet.config import NUM_CLASSES, TrainConfig
from digitnet.data.digits import Digits
from digitnet.data.load import add_strokes, load_nondigits
from digitnet.data.order import CPU
from digitnet.device import choose_precision, generator
from digitnet.engine import fit
from digitnet.errors import CheckpointError
from digitnet.evaluation import count, evaluate, logits_of
from digitnet.losses import LossFunction, build_loss
from digitnet.metrics import Metrics
from digitnet.models import DigitNet, place
from digitnet.optim import averaged_tensors
from digitnet.progress import StepResult
from digitnet.runs import PRETRAINED, find_checkpoint

OWN_SHARE = 0.1  # of the images trained on, where there are pictures of all ten digits
# Of the way from the old weights to the fine-tuned ones: the first is taken that forgets nothing, else the last.
SHARES = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
FOLDS = 3  # with the network to use, four fine-tunes, some 40 seconds of one core
SLACK = 0.001  # of the validation images: how much worse the network may read them


@dataclass(frozen=True, kw_only=True)
class TuneStep:
    """Where the fine-tunes are, some twenty times each."""

    network: int
    """Which of them, from 1: the network to use, and then one for each fold."""
    networks: int
    step: int
    """Updates of this one so far."""
    steps: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a picture was read as."""

    label: int
    """The digit that it is."""
    before: int
    """By the network as it was."""
    after: int
    """By a network adapted without it."""

    @property
    def misread(self) -> bool:
        """Whether it is read wrongly before or after."""
        return not self.label == self.before == self.after


@dataclass(frozen=True, kw_only=True)
class FoldResult:
    """How a part of the pictures is read by a network that was adapted to the others."""

    fold: int
    folds: int
    count: int
    """Pictures in this part."""
    before: int
    """How many of them the network read right as it was."""
    after: int
    """How many it reads right, adapted to the other parts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AdaptResult:
    """What adapting came to."""

    pictures: int
    folds: tuple[FoldResult, ...]
    """Together they hold each picture once."""
    readings: tuple[Reading, ...]
    """Of each picture, in the order given."""
    share: float
    """How far the weights went from the old ones to the fine-tuned ones, one of ``SHARES``; in the folds, too."""
    learnt: int
    """Pictures that the new network, which has learnt them all, reads right: no measure of anything else."""
    validation_before: Metrics
    validation_after: Metrics
    elapsed_s: float
    model: DigitNet
    """The new network, adapted to all pictures."""
    calibration: Calibration
    """How sure it may be; the old network's, where the validation images are not those that it was calibrated on."""

    @property
    def before(self) -> int:
        """Pictures that the network read right as it was."""
        return sum(fold.before for fold in self.folds)

    @property
    def after(self) -> int:
        """Pictures that were read right by a network adapted without them."""
        return sum(fold.after for fold in self.folds)

    @property
    def forgets(self) -> bool:
        """Whether the new network reads the validation images worse than it may."""
        return _forgets(self.validation_before, self.validation_after)

    @property
    def kept(self) -> bool:
        """Whether the new network is worth having: it forgets nothing, and reads the hand better."""
        return not self.forgets and self.after > self.before


def adapt(
    checkpoint: Checkpoint, own: Digits, train: Digits, validation: Digits, rule: TrainConfig, device: torch.device
) -> Iterator[TuneStep | FoldResult | AdaptResult]:
    """Fine-tune a network on pictures of one's own: once on all of them to use, and once for each fold to judge by.

    How far the weights go is chosen on the validation images, so that their figure is a little too good, and the
    folds', which choose nothing, are not.

    Args:
        checkpoint: The network as it is, which has not seen the pictures.
        own: The pictures, at least two of them different.
        train: What it was trained on, to rehearse.
        validation: What it must not read worse by more than ``SLACK``; nothing trains on it.
        rule: The fine-tune; its steps are given, and its loss is the checkpoint's.
        device: Where to.

    Yields:
        TuneSteps, a FoldResult after those of each fold, and an AdaptResult at the end.

    Raises:
        DigitnetError: The loss is no longer a finite number.
    """
    started, rule = time.monotonic(), replace(rule, loss=checkpoint.config.train.loss)
    train, nondigits = rehearsal(checkpoint.config.train, train, rule, device)
    own, validation = own.to(device), validation.to(device)
    old, loss_fn = place(checkpoint.build(), device), build_loss(rule.loss)
    before, read_before = evaluate(old, validation, loss_fn), read(old, own.images)
    parts = fold_indices(own.images, own.targets, rule.seed)
    networks = len(parts) + 1
    tuned = yield from _fine_tune(checkpoint, own, train, nondigits, rule, 1, networks)
    share, model, logits, after = _go_towards(old, tuned, validation, before, loss_fn)
    folds: list[FoldResult] = []
    read_after = torch.empty_like(read_before)
    for fold, unseen in enumerate(parts, start=1):
        learnt = own.take(torch.cat([part for part in parts if part is not unseen]))
        tuned = yield from _fine_tune(checkpoint, learnt, train, nondigits, rule, fold + 1, networks)
        read_after[unseen] = read(blend(old, tuned, share), own.images[unseen])
        folds.append(_judge(read_before[unseen], read_after[unseen], own.targets[unseen], fold, len(parts)))
        yield folds[-1]
    yield AdaptResult(
        pictures=len(own),
        folds=tuple(folds),
        readings=tuple(
            Reading(label=label, before=first, after=last)
            for label, first, last in zip(own.targets.tolist(), read_before.tolist(), read_after.tolist(), strict=True)
        ),
        learnt=int((read(model, own.images) == own.targets).sum()),
        share=share,
        validation_before=before,
        validation_after=after,
        elapsed_s=time.monotonic() - started,
        model=model,
        calibration=_calibrate(checkpoint, logits, validation),
    )


def _go_towards(
    old: DigitNet, tuned: DigitNet, validation: Digits, before: Metrics, loss_fn: LossFunction
) -> tuple[float, DigitNet, Tensor, Metrics]:
    """Go from the old network towards the tuned one as far as forgets nothing, else as little as there is to choose.

    Returns:
        The share of the way, the network there, its validation logits, (N, 10), and what they come to.
    """
    for share in SHARES:
        model = blend(old, tuned, share)
        logits = logits_of(model, validation.images)
        after = count(logits, validation.targets, loss_fn)
        if not _forgets(before, after):
            break
    return share, model, logits, after


def _calibrate(checkpoint: Checkpoint, logits: Tensor, validation: Digits) -> Calibration:
    """Fit how sure the new network may be to what it reads; to other digits than the old one's, nothing is fitted."""
    if validation.fingerprint != checkpoint.record.fingerprint:
        return checkpoint.calibration
    return fit_calibration(logits.cpu(), validation.targets.cpu())


def rehearsal(
    config: TrainConfig, train: Digits, rule: TrainConfig, device: torch.device
) -> tuple[Digits, Tensor | None]:
    """Make again what a network was trained on: its digits, strokes among them, and what is no digit, in their shares.

    Returns:
        Digits, and images that are no digits, (M, 1, 28, 28) uint8, or None if it has seen none; on the device.
    """
    digits = add_strokes(train, config.extra_strokes)
    nondigits = None
    if config.nondigits:
        share = config.nondigits / len(digits)
        nondigits = load_nondigits(train, round(share * (rule.steps or 1) * rule.batch_size)).to(device)
    return digits.to(device), nondigits


def _fine_tune(
    checkpoint: Checkpoint,
    own: Digits,
    train: Digits,
    nondigits: Tensor | None,
    rule: TrainConfig,
    network: int,
    networks: int,
) -> Generator[TuneStep, None, DigitNet]:
    """Return a copy of the checkpoint's network, fine-tuned for the rule's steps on the digits' device."""
    device = own.images.device
    model = place(checkpoint.build(), device)
    digits = mix(own, train, (rule.steps or 1) * rule.batch_size, rule.seed)
    for result in fit(model, digits, own, rule, choose_precision(rule.precision, device), nondigits):
        if isinstance(result, StepResult):
            yield TuneStep(network=network, networks=networks, step=result.step, steps=result.total_steps)
    return model


@torch.no_grad()
def blend(old: DigitNet, tuned: DigitNet, share: float) -> DigitNet:
    """Return a network whose weights lie between two networks', at ``share`` of the way from old to tuned.

    Half the way back gives up a little of what was gained on the hand, and most of what was lost on everybody else's.

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models" (2022), section 3.
    """
    model = copy.deepcopy(tuned).eval()
    for mean, first in zip(averaged_tensors(model), averaged_tensors(old), strict=True):
        mean.lerp_(first, 1 - share)
    return model


def _forgets(before: Metrics, after: Metrics) -> bool:
    return before.correct - after.correct > SLACK * before.count


def _judge(before: Tensor, after: Tensor, targets: Tensor, fold: int, folds: int) -> FoldResult:
    """Count what was read right of a fold's pictures, (N,) digits each."""
    right = [int((digits == targets).sum()) for digits in (before, after)]
    return FoldResult(fold=fold, folds=folds, count=len(targets), before=right[0], after=right[1])


def read(model: DigitNet, images: Tensor) -> Tensor:
    """Read images, (N, 1, 28, 28) uint8: (N,) int64."""
    return logits_of(model, images).argmax(1)


def fold_indices(images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, ...]:
    """Deal pictures into at most ``FOLDS`` parts, at least two, each with its share of every digit.

    Copies of a picture come together: else one would be learnt, and the other be read by the network that learnt it.

    Args:
        images: (N, 1, 28, 28) uint8, at least two of them different.
        targets: (N,) int64.
        seed: Which pictures come together follows from it.

    Returns:
        Indices, int64, each picture's in one part.
    """
    distinct, which = torch.unique(images.flatten(1), dim=0, return_inverse=True)
    labels = targets.new_empty(len(distinct)).scatter_reduce_(0, which, targets, "amax", include_self=False)
    order = torch.randperm(len(distinct), generator=generator(seed, 0, "folds", CPU)).to(targets.device)
    order = order[labels[order].argsort(stable=True)]  # digit by digit, and so dealt in turn
    count = min(FOLDS, len(distinct))
    part = torch.empty_like(order)
    part[order] = torch.arange(len(distinct), device=order.device) % count
    return tuple((part[which] == number).nonzero()[:, 0] for number in range(count))


def mix(own: Digits, train: Digits, size: int, seed: int) -> Digits:
    """Mix pictures of one's own, each many times over, with images to rehearse, most of them once.

    Each digit that there are pictures of gets the same share, a tenth of ``OWN_SHARE``, however many they are: else a
    hand of many sevens would teach that most digits are sevens.

    Returns:
        ``size`` digits, for training to take in an order of its own.
    """
    each = max(1, round(size * OWN_SHARE / NUM_CLASSES))
    mine = torch.cat(
        [_repeat((own.targets == digit).nonzero()[:, 0], each) for digit in sorted(set(own.targets.tolist()))]
    )
    order = torch.randperm(len(train), generator=generator(seed, 0, "rehearsal", CPU)).to(train.images.device)
    own, train = own.take(mine), train.take(_repeat(order, size - len(mine))).to(own.images.device)
    return replace(own, images=torch.cat([own.images, train.images]), targets=torch.cat([own.targets, train.targets]))


def _repeat(indices: Tensor, count: int) -> Tensor:
    """Return ``count`` indices, those given over and over."""
    return indices[torch.arange(count, device=indices.device) % len(indices)]


def describe(result: AdaptResult, source: Path, own: Digits, train: Digits, rule: TrainConfig) -> Adaptation:
    """Put down how a network was made, for its checkpoint and for reports; ``source`` is the old checkpoint's file."""
    return Adaptation(
        source=_reference(source),
        dataset=own.name,
        fingerprint=own.fingerprint,
        size=len(own),
        rehearsal=train.name,
        held_out_accuracy=result.after / result.pictures,
        steps=rule.steps or 0,
        learning_rate=rule.learning_rate,
        seed=rule.seed,
    )


def _reference(source: Path) -> str:
    """Name a checkpoint's file so that it is found from any folder, and one that ships by any installation."""
    for name in PRETRAINED:
        with contextlib.suppress(CheckpointError):  # it is not installed
            if source.resolve() == find_checkpoint(name).path.resolve():
                return name
    return str(source.resolve())


def save_adapted(path: Path, checkpoint: Checkpoint, result: AdaptResult, adaptation: Adaptation) -> None:
    """Write the new network as a checkpoint: the old one's record, with what has become of it.

    Raises:
        OSError: It could not be written.
    """
    record = replace(
        checkpoint.record,
        validation_loss=result.validation_after.loss,
        validation_accuracy=result.validation_after.accuracy,
        digitnet=__version__,
        torch=torch.__version__,
        adaptation=adaptation,
    )
    save_checkpoint(path, checkpoint.config, record, result.calibration, result.model)
