"""The one type that every data set is turned into, and the split that cuts validation from training images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

SPLIT_SEED = 20_240_229  # fixed for good: every run of every version validates on the same images
VALIDATION_SIZE = 5_000


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Labelled images of digits."""

    name: str
    """mnist, strokes, or the path of a folder."""
    images: Tensor
    """(N, 1, 28, 28) uint8, light ink on black."""
    targets: Tensor
    """(N,) int64, the digit of each image."""
    fingerprint: str
    """Hash of the whole part of the data set that this was taken from, 16 hexadecimal digits."""
    split_hash: str | None = None
    """Hash of the indices of the validation images, where this was cut by ``split``."""
    announce: Callable[[int, int], None] | None = None
    """Asks the system to read the images from the first place up to the second now; None where all are in memory."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def mapped(self) -> bool:
        """Whether these are files that may be larger than the memory: nobody is to read or copy them all."""
        return self.announce is not None

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    def take(self, indices: Tensor) -> Digits:
        """Return the images at ``indices``, an (n,) int64 tensor; name and fingerprint stay the whole part's."""
        return replace(self, images=self.images[indices], targets=self.targets[indices], announce=None)

    def to(self, device: torch.device) -> Digits:
        """Return the same digits on a device; mapped ones stay where they are, for batches to be brought there."""
        if self.mapped:
            return self
        return replace(self, images=self.images.to(device), targets=self.targets.to(device))


def fingerprint(images: Tensor, targets: Tensor) -> str:
    """Hash images and targets, both uint8 or int64 on the CPU, to 16 hexadecimal digits."""
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    digest.update(images.contiguous().numpy().data)
    digest.update(targets.to(torch.uint8).contiguous().numpy().data)
    return digest.hexdigest()[:16]


def split(digits: Digits, train_size: int | None = None) -> tuple[Digits, Digits]:
    """Cut a training set into training and validation images, always in the same way.

    A tenth goes to validation, at most 5,000 images. Which ones follows from the set's size alone.

    Args:
        digits: The whole training part.
        train_size: Keep only so many training images, spread over the set; None keeps all. Validation stays whole.

    Returns:
        Training digits and validation digits, each in the order of the set.
    """
    train, validation = split_indices(len(digits))
    marked = replace(digits, split_hash=hashlib.sha256(validation.numpy().data).hexdigest()[:16])
    return marked.take(train[:train_size].sort().values), marked.take(validation)


def split_indices(count: int) -> tuple[Tensor, Tensor]:
    """Return the shuffled indices, (n,) int64, of the training and the sorted ones of the validation images."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(SPLIT_SEED))
    size = validation_size(count)
    return order[size:], order[:size].sort().values


def validation_size(count: int) -> int:
    """Return how many of ``count`` training images are kept for validation."""
    return min(VALIDATION_SIZE, count // 10)
