"""The random order of an epoch, cut into batches as they are asked for: of a set of any size, and from any place on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from digitnet.config import SHUFFLE_BLOCK
from digitnet.data.stream import mix

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The batches of an epoch: indices of images, int64, each image in one of them.

    They are at most ``batch_size`` large and equal to within one image, so that no small last batch weighs as much as
    the others. Where the set is larger than the window, blocks of ``SHUFFLE_BLOCK`` consecutive images come in random
    order, and as many of them as the window holds are shuffled together: so only that part of a file is read at a
    time, and little more than the window's indices is held.
    """

    count: int
    """Images of the set."""
    batch_size: int
    window: int | None
    """Images that are shuffled together, at least ``SHUFFLE_BLOCK``; None is all of them."""
    seed: int

    def __len__(self) -> int:
        return math.ceil(self.count / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        return self.begin()

    def start(self, batch: int) -> int:
        """Return how many images come before a batch, counted from 0."""
        return part_start(self.count, len(self), batch)

    def begin(
        self, batch: int = 0, device: torch.device = CPU, announce: Callable[[int, int], None] | None = None
    ) -> Iterator[Tensor]:
        """Yield the batches from one on, which costs no more the later that is.

        Args:
            batch: Which one, counted from 0.
            device: Where the indices are to be; they are the same on any.
            announce: Told, as a window begins, which images are in it: from the first number up to the second.
        """
        windows = self._windows(self.start(batch), announce or (lambda _, __: None))
        held = torch.empty(0, dtype=torch.int64, device=device)
        for number in range(batch, len(self)):
            size = self.start(number + 1) - self.start(number)
            while len(held) < size:
                following = next(windows).to(device)
                held = torch.cat([held, following]) if len(held) else following
            yield held[:size]
            held = held[size:]

    def _windows(self, position: int, announce: Callable[[int, int], None]) -> Iterator[Tensor]:
        """Yield the order in pieces, from a position on."""
        if self.window is None or self.count <= self.window:
            announce(0, self.count)
            yield _permutation(self.count, self.seed)[position:]
            return
        blocks = _permutation(-(-self.count // SHUFFLE_BLOCK), self.seed)
        windows = -(-len(blocks) // max(1, self.window // SHUFFLE_BLOCK))
        starts = (part_start(len(blocks), windows, number) for number in range(windows + 1))
        for number, (start, stop) in enumerate(pairwise(starts)):
            window = blocks[start:stop]
            size = int((self.count - window * SHUFFLE_BLOCK).clamp(max=SHUFFLE_BLOCK).sum())  # the last block is short
            if position < size:
                for block in window.tolist():
                    announce(block * SHUFFLE_BLOCK, min((block + 1) * SHUFFLE_BLOCK, self.count))
                yield self._shuffled(window, number)[position:]
            position = max(0, position - size)

    def _shuffled(self, blocks: Tensor, number: int) -> Tensor:
        images = (blocks[:, None] * SHUFFLE_BLOCK + torch.arange(SHUFFLE_BLOCK)).flatten()
        images = images[images < self.count]
        return images[_permutation(len(images), mix(self.seed, number))]


def part_start(count: int, parts: int, part: int) -> int:
    """Return where a part begins, counted from 0, if ``count`` things are cut into parts equal to within one.

    The first parts are the larger ones, as with ``torch.tensor_split``.
    """
    size, larger = divmod(count, parts)
    return part * size + min(part, larger)


def _permutation(count: int, seed: int) -> Tensor:
    # Drawn on the CPU: the same order on every device.
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
