"""The state of a training between two steps: with it, training goes on as if it had never stopped. No files here."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from digitnet.stopping import StopReason
from digitnet.values import check


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a training is, in plain numbers."""

    step: int = 0
    """Updates so far."""
    epoch: int = 0
    """Whole epochs that have ended, validation included; ``step`` tells how much of the next is done."""
    highest: float = 0.0
    """The highest validation accuracy of these epochs."""
    lowest_loss: float = math.inf
    """Their lowest validation loss."""
    waited: int = 0
    """Epochs since then."""
    elapsed_s: float = 0.0
    """Seconds of training, those before an interruption included."""
    rollbacks: tuple[int, ...] = ()
    """Steps that training went back to after its numbers went wrong; from each on, the learning rate is halved."""
    hashes: tuple[str, ...] = ()
    """Of the trained weights after the first steps, see ``trainer.HASHED_STEPS``; only as long as the run has the
    length that it began with, which its learning rates follow from."""
    planned: int = 0
    """That length: how many updates there were to be."""
    stop: StopReason | None = None
    """Why training ended; None when it has not."""

    def __post_init__(self) -> None:
        for name, least in (("epoch", 0), ("step", self.epoch), ("waited", 0), ("elapsed_s", 0)):
            value = getattr(self, name)
            check(least <= value < math.inf, name, f"at least {least}", value)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingState:
    """Where a training is, and the tensors that it consists of there."""

    position: Position
    tensors: Mapping[str, Tensor]
    """By name: ``model.*``, what is saved as the network; ``trained.*``, where that is a mean, the weights beside it;
    ``optimizer.INDEX.*`` of each parameter; ``random.*``, the states of the random generators, uint8; ``sum.*``, what
    the epoch so far adds up to. They are training's own until it is asked for its next result, and change then."""

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of a part, such as ``model``, by their names in it."""
        return {
            key.removeprefix(f"{name}."): value for key, value in self.tensors.items() if key.startswith(f"{name}.")
        }


def named(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of a part by their names in a state."""
    return {f"{part}.{name}": tensor for name, tensor in tensors.items()}


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Hash tensors of any type, with their names and shapes, to 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
