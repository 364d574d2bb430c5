"""Reading a number off a device while it works."""

from __future__ import annotations

import torch
from torch import Tensor


class Gauge:
    """Reads a number that grows on a device without making the host wait for it: on a GPU, what has arrived so far."""

    def __init__(self, number: Tensor) -> None:
        self._number = number
        self._arrived = (0.0, 0)
        self._copy: Tensor | None = None
        self._copied: torch.cuda.Event | None = None
        self._at = 0

    def read(self, at: int) -> tuple[float, int]:
        """Return the number and when it was that; ``at`` says when it is now, in images. (0, 0) is not known yet."""
        if not self._number.is_cuda:
            return self._number.item(), at
        if self._copy is not None and self._copied is not None and self._copied.query():  # type: ignore[no-untyped-call]
            self._arrived, self._copied = (self._copy.item(), self._at), None
        if self._copied is None:
            self._copy = torch.empty_like(self._number, device="cpu", pin_memory=True)
            self._copy.copy_(self._number, non_blocking=True)
            self._copied, self._at = torch.cuda.Event(), at  # type: ignore[no-untyped-call]
            self._copied.record()
        return self._arrived
