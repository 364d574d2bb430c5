"""The training digits nearest to a picture: in a network's last hidden layer, and for comparison in pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from digitnet.explain.trace import PIXELS, Representation


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """One of the nearest digits."""

    index: int
    """Among the digits that were searched."""
    digit: int
    """Its label."""
    distance: float
    """Euclidean, between the representations."""


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The digits nearest to a picture in one representation."""

    name: str
    """Of the representation."""
    searched: int
    """Digits that were compared."""
    nearest: tuple[Neighbour, ...]
    """Nearest first."""


def nearest(picture: Representation, digits: Representation, targets: Tensor, count: int) -> Neighbours:
    """Find the digits nearest to a picture in a representation.

    Args:
        picture: The representation of the one picture.
        digits: The same representation of N digits.
        targets: Their labels, (N,) int64.
        count: How many to return, at most N.
    """
    # Differences, squared and summed: cdist by matrix products loses the small ones.
    distances = (digits.features - picture.features).double().square().sum(1).sqrt()
    order = distances.sort(stable=True).indices[:count]
    found = (Neighbour(index=i, digit=int(targets[i]), distance=distances[i].item()) for i in order.tolist())
    return Neighbours(name=digits.name, searched=len(targets), nearest=tuple(found))


def nearest_by_each(
    picture: tuple[Representation, ...], digits: tuple[Representation, ...], targets: Tensor, count: int, hidden: str
) -> tuple[Neighbours, ...]:
    """Find the nearest digits in the last hidden layer and in the pixels; once where these are the same.

    Args:
        picture: What ``represent`` made of the one picture.
        digits: What it made of N digits.
        targets: Their labels, (N,) int64.
        count: How many to return of each.
        hidden: The name of the last hidden representation.
    """
    places = [hidden] if hidden == PIXELS else [hidden, PIXELS]
    by_name = {one.name: (one, many) for one, many in zip(picture, digits, strict=True)}
    return tuple(nearest(*by_name[name], targets, count) for name in places)


def mean_digit(images: Tensor) -> Tensor:
    """Average images (N, 1, 28, 28) uint8 to one, (1, 28, 28) float32 in [0, 1]."""
    mean: Tensor = images.float().mean(0) / 255
    return mean.to(torch.float32)
