"""The processes of a launch, and what they say to each other, through PyTorch's store and backends.

What the launcher says of this process is in ``launch.py``, a network that several of them train in ``parallel.py``.
"""

from __future__ import annotations

import itertools
import json
import platform
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor

from digitnet import __version__
from digitnet.errors import AbsentError, DigitnetError, LaunchError, brief
from digitnet.launch import Launch, read_launch

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

T = TypeVar("T")

MEETING = timedelta(seconds=40)  # for which they wait for each other: importing PyTorch takes long from a cold disk
CONNECTING = timedelta(seconds=10)  # to the store, once somebody listens there
TRY_S = 2.0
WORKING = timedelta(hours=4)  # for which the others wait where one unpacks a data set for them
ANSWERING = timedelta(minutes=10)  # and where all work: a step takes seconds; one that dies is mostly known of at once
POLL_S = 0.02
TOLD_S = 3.0  # for which one process waits to see whether the first says what it has to say, too

_met = False  # whether this process has met the others of its launch


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
        _compare(self.gather(_report(settings, fault)), what)


ALONE = World()


def _report(settings: Mapping[str, object], fault: str | None) -> dict[str, Any]:
    return {"fault": fault, "settings": {name: repr(value) for name, value in settings.items()}}


def _compare(reports: Sequence[Mapping[str, Any]], what: str) -> None:
    for rank, report in enumerate(reports):
        if report["fault"] is not None:
            raise LaunchError(f"process {rank} of {len(reports)}: {report['fault']}" if rank else report["fault"])
    expected = reports[0]["settings"]
    for rank, report in enumerate(reports):
        for name in expected:
            if (found := report["settings"].get(name)) != expected[name]:
                raise LaunchError(
                    f"the processes of this launch have different {what}: {name} is {brief(expected[name], 60)} in the "
                    f"first, {brief(found, 60)} in process {rank} of {len(reports)} (counted from 0)"
                )


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
        yield World(launch=found, kept=_open_store(found) if found.launcher_serves else None)
        return
    here = {"digitnet": __version__, "torch": torch.__version__, "python": platform.python_version(), "device": device}
    store, kept = _meet(found, {**here, **settings}, _fault_of(device, found))
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
    if not dist.is_gloo_available():
        return "this PyTorch was built without gloo, by which processes talk; install another build of it"
    if device == "mps":
        return "several processes cannot share their work on mps: PyTorch has no backend for it; use --device cpu"
    if device == "cuda" and not dist.is_nccl_available():
        return "this PyTorch was built without nccl, by which GPUs talk; use --device cpu"
    if device == "cuda" and found.local_size > (count := torch.cuda.device_count()):
        return f"{found.local_size} processes were started on this machine, which has {count} GPUs; start one for each"
    return None


def refuse_together(fault: str) -> str | None:
    """Let the other processes of a launch know that this one cannot go on, if they have not met yet.

    Returns:
        What this process is to say of it; None where the first one says it.
    """
    found = read_launch()
    told = fault if found.is_first else f"process {found.rank} of {found.size}: {fault}"
    if _met or not dist.is_available():
        return told
    try:
        _meet(found, {}, fault)
    except AbsentError:  # nor is there anybody to be told
        return told
    except LaunchError as error:
        return str(error) if found.is_first else None
    return told


def _meet(found: Launch, settings: Mapping[str, object], fault: str | None) -> tuple[Store, Store]:
    """Compare what the processes were given, before anything else: it needs no more than a store.

    Returns:
        The store of this start of them, and the one that it is a part of.

    Raises:
        LaunchError: Not all of them are there, or they do not agree.
    """
    global _met  # noqa: PLW0603 (a process meets the others of its launch or does not)
    if not dist.is_available():
        raise LaunchError("this PyTorch was built without torch.distributed; install another build of it")
    kept = _open_store(found)
    names = [f"report/{rank}" for rank in range(found.size)]
    store: Store = dist.PrefixStore("digitnet", kept)  # type: ignore[attr-defined]
    report = json.dumps(_report(settings, fault))
    try:
        store = _welcome(found, store, names, report) if found.is_first else _come(found, store, names, report)
        store.wait(names, MEETING)
        reports = [json.loads(store.get(name)) for name in names]
    except RuntimeError as error:
        raise LaunchError(_absent(found, store, names)) from error
    _met = True
    _compare(reports, "options")
    kept.set_timeout(WORKING)
    return store, kept


# A launcher may keep its store when it starts processes anew, and only it knows how often it did. So the first process
# makes up a name for each start, and the others ask for it under a name of their own: what is left in the store of
# starts before answers nobody.


def _come(found: Launch, kept: Store, names: Sequence[str], report: str) -> Store:
    """Ask the first process for the part of the store that is this start's, and report there."""
    mine = uuid4().hex
    kept.set(f"come/{found.rank}", mine)
    kept.wait([f"welcome/{mine}"], MEETING)
    store: Store = dist.PrefixStore(kept.get(f"welcome/{mine}").decode(), kept)  # type: ignore[attr-defined]
    store.set(names[found.rank], report)
    return store


def _welcome(found: Launch, kept: Store, names: Sequence[str], report: str) -> Store:
    """Tell whoever comes which part of the store is this start's, until all have reported there."""
    start, deadline = uuid4().hex, time.monotonic() + MEETING.total_seconds()
    store: Store = dist.PrefixStore(start, kept)  # type: ignore[attr-defined]
    store.set(names[0], report)
    while not store.check(list(names)) and time.monotonic() < deadline:
        for rank in range(1, found.size):
            if not store.check([names[rank]]) and kept.check([f"come/{rank}"]):
                kept.set(f"welcome/{kept.get(f'come/{rank}').decode()}", start)
        time.sleep(POLL_S)
    if not store.check(list(names)):
        raise LaunchError(_absent(found, store, names))
    return store


def _open_store(found: Launch) -> Store:
    """Open the store in which the processes meet: the launcher's, or else one that the first of them serves.

    Raises:
        LaunchError: It is not there, or cannot be served.
    """
    serves = found.is_first and not found.launcher_serves
    if not serves:
        _wait_for_port(found)
    try:
        return dist.TCPStore(  # type: ignore[attr-defined]
            str(found.host), found.port, is_master=serves, timeout=CONNECTING, wait_for_workers=False, multi_tenant=True
        )
    except RuntimeError as error:
        place = f"{found.host}:{found.port}"
        if serves:
            why = brief(str(error).partition("\n")[0], 200)
            raise LaunchError(
                f"the first process cannot listen at {place}; choose another MASTER_PORT ({why})"
            ) from error
        raise AbsentError(f"nobody answered at {place}, where the processes of this launch were to meet") from error


def _wait_for_port(found: Launch) -> None:
    """Wait until somebody listens where the processes meet: PyTorch would try twice, for over a minute, and log pages.

    Raises:
        AbsentError: Nobody does.
    """
    deadline = time.monotonic() + MEETING.total_seconds()
    while True:
        try:
            with socket.create_connection((str(found.host), found.port), timeout=TRY_S):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                waited = f"in {MEETING.total_seconds():.0f} s, nobody answered at {found.host}:{found.port}"
                raise AbsentError(f"{waited}, where the processes of this launch were to meet ({error})") from error
            time.sleep(POLL_S)


def _absent(found: Launch, store: Store, names: Sequence[str]) -> str:
    """Say who did not come."""
    missing = names
    with suppress(RuntimeError):  # the store has gone, too
        missing = [name for name in names if not store.check([name])]
    ranks = ", ".join(name.partition("/")[2] for name in missing)
    return (
        f"waited {MEETING.total_seconds():.0f} s at {found.host}:{found.port} for process {ranks} of {found.size} "
        "(counted from 0), in vain; start all of them, with the same MASTER_ADDR and MASTER_PORT"
    )
