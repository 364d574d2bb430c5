"""Endless and repeatable streams of drawings: any range of a stream, whichever it is, costs and gives the same."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from digitnet.config import IMAGE_SIZE

CHUNK_SIZE = 1000  # a stream is drawn in chunks

Draw = Callable[[int, torch.Generator], tuple[torch.Tensor, torch.Tensor]]
"""How many, and where all the variation comes from, to images, uint8 (N, 1, 28, 28), and targets, int64 (N,)."""


def draw_range(draw: Draw, count: int, *, seed: int, first: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw numbers `first` to `first + count - 1` of the stream `seed`.

    Returns:
        Images, uint8 (count, 1, 28, 28), and targets, int64 (count,).

    Raises:
        ValueError: `count` or `first` is negative.
    """
    if count < 0 or first < 0:
        raise ValueError(f"count and first must not be negative, got count={count}, first={first}")
    images = torch.empty(count, 1, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    targets = torch.empty(count, dtype=torch.int64)

    def fill(chunk: int) -> None:
        start = chunk * CHUNK_SIZE - first  # where the chunk begins in the range asked for
        part, wanted = slice(max(start, 0), min(start + CHUNK_SIZE, count)), slice(max(-start, 0), count - start)
        chunk_images, chunk_targets = draw(CHUNK_SIZE, torch.Generator().manual_seed(mix(seed, chunk)))
        images[part], targets[part] = chunk_images[wanted], chunk_targets[wanted]

    with _one_thread_each() as pool:
        list(pool.map(fill, range(first // CHUNK_SIZE, -(-(first + count) // CHUNK_SIZE))))
    return images, targets


@contextmanager
def _one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """Lend as many workers as torch has threads, and one thread to each.

    The operations are many and small: threads that share each of them mostly wait for one another, ten times as long
    on a busy machine. And sums are then made in one order, so a digit is the same to the bit on any number of threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def mix(seed: int, chunk: int) -> int:
    """Hash (seed, chunk) to 63 bits, so that neighbouring seeds and chunks have nothing in common."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{chunk}".encode(), digest_size=8).digest(), "big") >> 1
