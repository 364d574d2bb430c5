"""How the processes of a launch meet: in a store of PyTorch's, where each reports what it was given.

It needs nothing else, so whatever else is missing or differs can be said here. What they do together from then on is in
``distributed.py``.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import torch.distributed as dist

from digitnet.errors import AbsentError, LaunchError, brief
from digitnet.launch import Launch, read_launch

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

MEETING = timedelta(seconds=40)  # for which they wait for each other: importing PyTorch takes long from a cold disk
CONNECTING = timedelta(seconds=10)  # to the store, once somebody listens there
TRY_S = 2.0
POLL_S = 0.02

_met = False  # whether this process has met the others of its launch


def report_of(settings: Mapping[str, object], fault: str | None) -> dict[str, Any]:
    """Put into plain values what a process was given, and what keeps it from going on."""
    return {"fault": fault, "settings": {name: repr(value) for name, value in settings.items()}}


def compare(reports: Sequence[Mapping[str, Any]], what: str) -> None:
    """Compare the reports of all processes, in the order of their ranks.

    Raises:
        LaunchError: One has a fault, or they differ.
    """
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
        meet(found, {}, fault)
    except AbsentError:  # nor is there anybody to be told
        return told
    except LaunchError as error:
        return str(error) if found.is_first else None
    return told


def meet(found: Launch, settings: Mapping[str, object], fault: str | None) -> tuple[Store, Store]:
    """Compare what the processes were given, before anything else: it needs no more than a store.

    Returns:
        The store of this start of them, and the one that it is a part of.

    Raises:
        LaunchError: Not all of them are there, or they do not agree.
    """
    global _met  # noqa: PLW0603 (a process meets the others of its launch or does not)
    if not dist.is_available():
        raise LaunchError("this PyTorch was built without torch.distributed; install another build of it")
    kept = open_store(found)
    names = [f"report/{rank}" for rank in range(found.size)]
    store: Store = dist.PrefixStore("digitnet", kept)  # type: ignore[attr-defined]
    report = json.dumps(report_of(settings, fault))
    try:
        store = _welcome(found, store, names, report) if found.is_first else _come(found, store, names, report)
        store.wait(names, MEETING)
        reports = [json.loads(store.get(name)) for name in names]
    except RuntimeError as error:
        raise LaunchError(_absent(found, store, names)) from error
    _met = True
    compare(reports, "options")
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


def open_store(found: Launch) -> Store:
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
