"""The processes of a launch, and what they say to each other, through PyTorch's store and backends.

What the launcher says of this process is in ``launch.py``, how they meet in ``meeting.py``, a network that several of
them train in ``parallel.py``.
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from digitnet import __version__
from digitnet.errors import DigitnetError, LaunchError
from digitnet.launch import Launch, read_launch
from digitnet.meeting import compare, meet, open_store, report_of

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

T = TypeVar("T")

WORKING = timedelta(hours=4)  # for which the others wait where one unpacks a data set for them
ANSWERING = timedelta(minutes=10)  # and where all work: a step takes seconds; one that dies is mostly known of at once
TOLD_S = 3.0  # for which one process waits to see whether the first says what it has to say, too


@dataclass(frozen=True, kw_only=True)
class World:
    """All processes of a launch, as one of them sees them; where there is only one, all of this is done at once."""

    launch: Launch = field(default_factory=Launch)
    store: Store | None = None
    """What they share: keys and counters, none at each start of them; None where there is only one process."""
    kept: Store | None = None
    """Likewise, and kept when the launcher starts them anew; None where the launcher does not."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return self.launch.rank

    @property
    def size(self) -> int:
        """How many processes there are."""
        return self.launch.size

    @property
    def is_first(self) -> bool:
        """Whether this is the one that speaks and saves for all."""
        return self.launch.is_first

    def sum_(self, numbers: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(numbers)
        return numbers

    def gather(self, value: T) -> list[T]:
        """Return what each process has given, in the order of their ranks."""
        found: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(found, value)
        return found

    def broadcast(self, value: T) -> T:
        """Return what the first process has given."""
        values: list[Any] = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, src=0)
        found: T = values[0]
        return found

    def barrier(self) -> None:
        """Wait until all processes have come as far."""
        if self.size > 1:
            dist.barrier()

    def share(self, items: Tensor) -> Tensor:
        """Return this process's share of items: a run of them, as long as the others' to within one."""
        return items.tensor_split(self.size)[self.rank]

    def tickets(self, name: str) -> Iterator[int]:
        """Count from 0 for ever; each number goes to one process only, whichever asks first."""
        if self.store is None:
            yield from itertools.count()
        else:
            while True:
                yield self.store.add(f"tickets/{name}", 1) - 1

    def agree(self, settings: Mapping[str, object], what: str, fault: str | None = None) -> None:
        """Go on only if no process has found a fault, and all have the same settings.

        Raises:
            LaunchError: In all of them alike.
        """
        compare(self.gather(report_of(settings, fault)), what)


ALONE = World()


@contextmanager
def joined(settings: Mapping[str, object], device: str = "cpu") -> Iterator[World]:
    """Meet the other processes of the launch, and part from them at the end; without a launch, go on alone.

    Args:
        settings: What has to be the same in all of them.
        device: What they compute on: cpu, cuda or mps.

    Raises:
        LaunchError: They cannot meet, or do not agree, or one of them is lost later.
    """
    found = read_launch()
    if found.size == 1:
        yield World(launch=found, kept=open_store(found) if found.launcher_serves else None)
        return
    here = {"digitnet": __version__, "torch": torch.__version__, "python": platform.python_version(), "device": device}
    store, kept = meet(found, {**here, **settings}, _fault_of(device, found))
    kept.set_timeout(WORKING)
    try:
        if device == "cuda":
            torch.cuda.set_device(found.local_rank)
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=found.rank, world_size=found.size, timeout=ANSWERING)
        yield World(launch=found, store=store, kept=kept if found.launcher_serves else None)
    except DigitnetError as error:
        error.told = _is_told(found, store, str(error))
        raise
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise LaunchError("another process of this launch has ended, and this one cannot go on alone") from error
        raise
    dist.destroy_process_group()  # not after an error: it would wait for those that have gone


def _is_told(found: Launch, store: Store, message: str) -> bool:
    """Say whether the first process tells of the same error, so that this one need not."""
    try:
        if found.is_first:
            store.set("error", message)
            return False
        store.wait(["error"], timedelta(seconds=TOLD_S))
        return store.get("error").decode() == message
    except RuntimeError:  # it does not, or has gone
        return False


def _fault_of(device: str, found: Launch) -> str | None:
    """Say why this process cannot work with others on such a device; None if nothing is in the way."""
    if not (dist.is_available() and dist.is_gloo_available()):
        return "this PyTorch was built without gloo, by which processes talk; install another build of it"
    if device == "mps":
        return "several processes cannot share their work on mps: PyTorch has no backend for it; use --device cpu"
    if device == "cuda" and not dist.is_nccl_available():
        return "this PyTorch was built without nccl, by which GPUs talk; use --device cpu"
    if device == "cuda" and found.local_size > (count := torch.cuda.device_count()):
        return f"{found.local_size} processes were started on this machine, which has {count} GPUs; start one for each"
    return None
