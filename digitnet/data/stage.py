"""Images that stay in the machine's memory, or in a file, brought to the device that trains on them batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from digitnet.config import IMAGE_SIZE
from digitnet.data.digits import Digits


class Stage:
    """Room for one batch on a device, always in the same place, so that a captured step finds it there."""

    def __init__(self, digits: Digits, batch_size: int, device: torch.device) -> None:
        self._source = digits
        shape = (batch_size, 1, IMAGE_SIZE, IMAGE_SIZE)
        self.digits = replace(
            digits,
            images=torch.empty(shape, dtype=torch.uint8, device=device),
            targets=torch.empty(batch_size, dtype=torch.int64, device=device),
            announce=None,
        )
        """What was brought last."""
        self._places = torch.arange(batch_size, device=device)

    def bring(self, batch: Tensor, share: Callable[[Tensor], Tensor] = lambda items: items) -> Tensor:
        """Bring the digits at ``batch``, (n,) int64 on the CPU; return where they are now, likewise on the device.

        Where several processes share a batch, ``share`` returns this one's part of it, and no other is brought.
        """
        places = share(torch.arange(len(batch)))
        here = slice(int(places[0]), int(places[-1]) + 1)
        self.digits.images[here].copy_(self._source.images[batch[here]])
        self.digits.targets[here].copy_(self._source.targets[batch[here]])
        return self._places[: len(batch)]
