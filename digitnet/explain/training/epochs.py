"""What a network had learnt when: the same weights, maps and representations after each epoch of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from digitnet.checkpoint import Checkpoint
from digitnet.config import IMAGE_SIZE, NUM_CLASSES, LossName
from digitnet.data.digits import Digits
from digitnet.errors import DataError
from digitnet.evaluation import evaluate
from digitnet.explain.trace import PIXELS, last_hidden
from digitnet.losses import build_loss
from digitnet.models import DigitNet, to_float

MOST_PROJECTED = 500  # images: what a small plane shows, and quick to decompose


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A network after an epoch, and what it makes of the same images."""

    epoch: int
    """Counted from 1; 0 is before training."""
    validation_loss: float
    validation_accuracy: float
    weights: Tensor
    """Of the first layer, (kernels, height, width) float32: a kernel's, or of an MLP a unit's, one for each pixel."""
    moved: float | None
    """How far these are from those of the epoch before, as a share of their size then; None of the first."""
    maps: Tensor | None
    """What the first block makes of one image of each digit, (10, channels, height, width); None of an MLP."""
    probs: Tensor
    """Of these images, (10, 10) float32, as the network gives them (the temperature is left out)."""
    plane: Tensor
    """Where the last hidden layer puts N images, (N, 2) float64, along the two directions in which they differ most."""
    held: float
    """The share of the images' variance that these two directions hold, in [0, 1]."""
    nearest_mean: float
    """Of the second half of the N images, the share whose layer lies nearest to the mean of their own digit in the
    first half, in [0, 1]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """A run, epoch by epoch."""

    snapshots: tuple[Snapshot, ...]
    """In the order of the epochs; the first is before training."""
    first: str
    """Name of the first layer with weights."""
    hidden: str
    """Name of what the output layer gets: a block, a layer, or the pixels."""
    digits: Digits
    """One image of each digit, 0 to 9."""
    targets: Tensor
    """The digits of the N images of the planes, (N,) int64."""


def look_back(before: DigitNet, checkpoints: Iterable[Checkpoint], validation: Digits, loss: LossName) -> History:
    """Show the same images to a network as it was after each epoch.

    Args:
        before: The network before training, on the CPU.
        checkpoints: The network after each epoch, in order; all are of one run.
        validation: Labelled images that it was not trained on, on the CPU.
        loss: What it was trained by.

    Raises:
        DataError: There is no image of some digit.
    """
    look = partial(_look, one_each=_one_of_each(validation), some=validation.take(_first(validation, MOST_PROJECTED)))
    metrics = evaluate(before.eval(), validation, build_loss(loss))
    snapshots = [look(before, None, epoch=0, loss=metrics.loss, accuracy=metrics.accuracy)]
    for checkpoint in checkpoints:
        r, weights = checkpoint.record, snapshots[-1].weights
        now = look(checkpoint.build(), weights, epoch=r.epoch, loss=r.validation_loss, accuracy=r.validation_accuracy)
        snapshots.append(now)
    hidden = last_hidden(before)
    return History(
        snapshots=_turned(snapshots),
        first=next(name for name, module in before.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)),
        hidden="the pixels" if hidden == PIXELS else hidden,
        digits=_one_of_each(validation),
        targets=validation.targets[:MOST_PROJECTED],
    )


def _first(digits: Digits, count: int) -> Tensor:
    return torch.arange(min(len(digits), count))


def _one_of_each(digits: Digits) -> Digits:
    found = [(digits.targets == digit).nonzero() for digit in range(NUM_CLASSES)]
    if missing := [digit for digit, places in enumerate(found) if not len(places)]:
        raise DataError(
            f"{digits.name} has no {missing[0]} among its validation images, and one of each digit is shown"
        )
    return digits.take(torch.cat([places[0] for places in found]))


@torch.inference_mode()
def _look(
    model: DigitNet, before: Tensor | None, *, epoch: int, loss: float, accuracy: float, one_each: Digits, some: Digits
) -> Snapshot:
    """Take down what a network, in evaluation mode, makes of the images, and how far its first weights have moved."""
    weights = first_weights(model)
    hidden = hidden_of(model, some.images)
    plane, held = project(hidden)
    images = to_float(one_each.images)
    blocks = list(model.base.named_children())
    maps = blocks[0][1]((images - model.mean) / model.std).contiguous() if blocks else None
    return Snapshot(
        epoch=epoch,
        validation_loss=loss,
        validation_accuracy=accuracy,
        weights=weights,
        moved=None if before is None else ((weights - before).norm() / before.norm()).item(),
        maps=maps,
        probs=model(images).softmax(1),
        plane=plane,
        held=held,
        nearest_mean=nearest_mean(hidden, some.targets),
    )


def first_weights(model: DigitNet) -> Tensor:
    """Return the first layer's weights, (kernels or units, height, width) float32."""
    layer = next(module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    weights = layer.weight.detach().contiguous()
    return weights[:, 0] if isinstance(layer, nn.Conv2d) else weights.view(-1, IMAGE_SIZE, IMAGE_SIZE)


def hidden_of(model: DigitNet, images: Tensor) -> Tensor:
    """Return what the last layer before the output makes of images, (N, 1, 28, 28) uint8: (N, F) float32."""
    features: Tensor = model.base((to_float(images) - model.mean) / model.std)
    for layer in list(model.head.children())[:-1]:
        features = layer(features)
    return features


def project(features: Tensor) -> tuple[Tensor, float]:
    """Find the two directions in which features, (N, F), differ most, and where each lies along them: PCA.

    It is computed from the N x N products of the centred features, whose eigenvectors say where images lie.
    Source: Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning" (2009), 14.5.1.

    Returns:
        (N, 2) float64, and the share of the variance that the two hold, in [0, 1].
    """
    centred = features.double() - features.double().mean(0)
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    top = values[-2:].clamp(min=0).flip(0)
    return vectors[:, -2:].flip(1) * top.sqrt(), (top.sum() / values.clamp(min=0).sum().clamp(min=1e-12)).item()


def nearest_mean(features: Tensor, targets: Tensor) -> float:
    """Return the share of the second half of images, (N, F), nearest to the mean of their digit in the first half."""
    half = len(features) // 2
    present = torch.tensor(sorted(set(targets[:half].tolist())))
    means = torch.stack([features[:half][targets[:half] == digit].mean(0) for digit in present])
    answers = present[torch.cdist(features[half:], means).argmin(1)]
    return float((answers == targets[half:]).double().mean())


def _turned(snapshots: list[Snapshot]) -> tuple[Snapshot, ...]:
    """Turn and mirror each plane to lie over the next one as well as it can: its own axes have no fixed direction.

    Source: Schönemann, "A generalized solution of the orthogonal Procrustes problem" (1966).
    """
    turned = [snapshots[-1]]
    for snapshot in reversed(snapshots[:-1]):
        left, _, right = torch.linalg.svd(snapshot.plane.T @ turned[-1].plane)
        turned.append(replace(snapshot, plane=snapshot.plane @ left @ right))
    return tuple(reversed(turned))
