"""Steps of training as CUDA graphs: the GPU is handed a whole step at once, instead of a hundred kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UP = 3  # steps of each size that run as they are, for what is made or chosen only once: state, kernels, memory


class CapturedStep:
    """A step that runs as it is a few times for each size of its batches, is captured then, and replayed from there on.

    What is captured reads and writes the same memory at each replay. So a step has to keep its results in tensors of
    its own, and to take what changes from tensors: the batch, the learning rate, the random generators.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture
    """

    def __init__(self, step: Callable[..., None], generators: Sequence[torch.Generator]) -> None:
        self._step = step
        self._generators = generators
        """Those that the step draws from, but for the device's default one."""
        # Capture needs a stream that is not the default one, and what is captured to be warmed up on the same.
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._runs: Counter[tuple[int, ...]] = Counter()
        self._graphs: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]] = {}

    def __call__(self, *batches: Tensor) -> None:
        """Run the step on batches of indices, each (N,) int64 on the GPU, N of its own."""
        size = tuple(map(len, batches))
        if size not in self._graphs and self._runs[size] < WARM_UP:
            self._runs[size] += 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._step(*batches)
            torch.cuda.current_stream().wait_stream(self._stream)
            return
        if size not in self._graphs:
            self._graphs[size] = self._capture(batches)
        graph, indices = self._graphs[size]
        for kept, batch in zip(indices, batches, strict=True):
            kept.copy_(batch)
        graph.replay()

    def _capture(self, batches: tuple[Tensor, ...]) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]:
        graph, indices = torch.cuda.CUDAGraph(), tuple(batch.clone() for batch in batches)
        for generator in self._generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=self._stream):
            self._step(*indices)
        return graph, indices
