"""Units of a list that one process reads and all do: what stdin holds comes but once, to the first of them.

It posts what it reads through their store, chunk by chunk, a few units ahead of those that have been begun. Nobody
waits within the store, which would keep its other users in the same process waiting, too: it is looked at now and then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from digitnet.bulk.units import Unit, units
from digitnet.errors import DigitnetError, UsageError
from digitnet.sources import Packed, Source

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

AHEAD = 3  # units for each process that may be posted before they are begun
CHUNK = 1_000  # lines
PATIENCE_S = 0.02

_BEGUN, _POSTED, _WHOLE, _FAULT = "lists/begun", "lists/posted", "lists/whole", "lists/fault"


def start_posting(store: Store, places: Iterator[Source | None], workers: int) -> None:
    """Post, in a thread, all units of what inputs name, for so many processes; what goes wrong is posted, too."""
    Thread(target=_post_all, args=(store, places, workers), name="lists", daemon=True).start()


def posted_units(store: Store) -> Iterator[Unit]:
    """Go through the units that are posted, as they come; those passed over are not fetched.

    Raises:
        UsageError: What the first process reads is no list.
    """
    known = 0
    for number in count():
        while number >= known:
            whole = store.check([_WHOLE])  # asked first: after that, no more are posted
            known = int(store.get(_POSTED)) if store.check([_POSTED]) else 0
            if number >= known:
                if store.check([_FAULT]):
                    raise UsageError(store.get(_FAULT).decode())
                if whole:
                    return
                time.sleep(PATIENCE_S)
        yield Unit("what stands there in the list on stdin", _fetched(store, number))


def _fetched(store: Store, number: int) -> Iterator[Source | None]:
    """Fetch the pictures of a unit; None says that the next chunk is not there yet."""
    store.add(_BEGUN, 1)
    for chunk in count():
        name = _chunk_name(number, chunk)
        while not store.check([name]):
            if store.check([_FAULT]):
                raise UsageError(store.get(_FAULT).decode())
            yield None
            time.sleep(PATIENCE_S)
        lines, last = json.loads(store.get(name))
        store.delete_key(name)
        yield from map(Path, lines)
        if last:
            return


def _post_all(store: Store, places: Iterator[Source | None], workers: int) -> None:
    try:
        for number, unit in enumerate(units(places)):
            while number >= store.add(_BEGUN, 0) + AHEAD * workers:
                time.sleep(PATIENCE_S)
            store.set(_POSTED, str(number + 1))
            for chunk, content in enumerate(_chunks(unit)):
                store.set(_chunk_name(number, chunk), json.dumps(content))
        store.set(_WHOLE, "1")
    except DigitnetError as error:
        store.set(_FAULT, str(error))
    except RuntimeError:  # the store has gone, and with it those who would read this
        return
    except Exception as error:  # whatever it is, the others wait for more
        store.set(_FAULT, f"the list on stdin cannot be read: {error}")


def _chunks(unit: Unit) -> Iterator[tuple[list[str], bool]]:
    """Put a unit's paths into chunks, each with whether it is the last; one ends where more may be long in coming."""
    lines: list[str] = []
    for place in unit.places():
        if isinstance(place, Packed):
            raise UsageError("a picture on stdin is read by one process; leave out the launcher, or list names there")
        if place is not None:
            lines.append(str(place))
        if len(lines) == CHUNK or (lines and place is None):
            yield lines, False
            lines = []
    yield lines, True


def _chunk_name(number: int, chunk: int) -> str:
    return f"lists/{number}/{chunk}"
