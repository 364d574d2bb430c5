"""The machine's own matrix product: what it can do at best, to compare a network with."""

from __future__ import annotations

import statistics
import time
from functools import cache

import torch
from torch import Tensor

SIDES = {"cpu": 2_048, "cuda": 8_192}  # of square matrices: large enough that larger ones are no faster


def matrix_product(device: torch.device, dtype: torch.dtype, *, seconds: float = 0.5) -> float:
    """Multiply two square matrices for at least three times and so many seconds; return the median GFLOP/s."""
    left, right, product = _matrices(device, dtype)
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        wait_for(device)
        started = time.perf_counter()
        torch.mm(left, right, out=product)
        wait_for(device)
        times.append(time.perf_counter() - started)
    return 2 * len(left) ** 3 / statistics.median(times) / 1e9


@cache
def _matrices(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Make two factors and a place for the product, kept for good.

    Were they given back, glibc would learn from their size to keep more memory, and what is timed after them would find
    its own sooner than it does in a process of its own. Source: mallopt(3), M_MMAP_THRESHOLD.
    """
    side = SIDES.get(device.type, 2_048)
    left, right, product = (torch.empty(side, side, device=device, dtype=dtype) for _ in range(3))
    return left.normal_(), right.normal_(), product


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was given; a CPU has, whenever a call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
