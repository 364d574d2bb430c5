"""Who does which unit of a bulk prediction, what is done already, and what is left.

A *unit* is what one worker does at once and one part file holds; its number is its place among the units of the
inputs, from 0. Every worker walks the same units in the same order, forward only, and does those whose numbers it is
handed as *tickets*: each number goes to exactly one worker of a launch, by an atomic counter. A launch begins with
what is *done*: the digest of each unit that an earlier one finished. Nothing else is agreed upon, so workers may come,
die and be as slow as they like: a unit whose worker died is not done, and the next launch does it.

Values alone: no files, no network, no clock. To drive it, for a test or a simulation of many workers::

    done: dict[int, str] = {}
    while left(done, count):                       # a launch, and after a failure another one
        snapshot, tickets = dict(done), itertools.count()   # one counter for all workers of the launch
        shares = [Share(iter(units), tickets, snapshot) for _ in range(workers)]
        # Each worker: for number, unit in share: (do it, however long that takes); done[number] = unit.digest

``Share`` draws its next ticket only when it is asked for its next unit. A worker that fails is one whose share is
asked no more; that ends the launch for all, as torchrun has it. Units are done at least once, and their answers taken
exactly once, as a unit done again is written over with the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from digitnet.errors import DataError


class Unit(Protocol):
    """What a share has to know of a unit; ``str`` names it for people."""

    @property
    def digest(self) -> str:
        """What tells it from any other unit; asked for only where one of its number is done."""


UnitT = TypeVar("UnitT", bound=Unit)

_ADVICE = "name another folder by --output"


class Share(Generic[UnitT]):
    """The units that one worker of a launch is to do, with their numbers; to be gone through once."""

    def __init__(self, units: Iterable[UnitT], tickets: Iterator[int], done: Mapping[int, str]) -> None:
        """Take part in a launch.

        Args:
            units: All units of the inputs, in order, the same for every worker.
            tickets: Numbers from 0 that no other worker of the launch gets, each larger than the one before.
            done: The digests of the units that were done before the launch, by number.
        """
        self._units = units
        self._tickets = tickets
        self._done = done
        self.seen = 0
        """Units walked past so far: when all is gone through, how many there are."""

    def __iter__(self) -> Iterator[tuple[int, UnitT]]:
        """Go through them.

        Raises:
            DataError: What was done is no longer what the inputs hold.
        """
        mine = next(self._tickets)
        for number, unit in enumerate(self._units):
            self.seen = number + 1
            if number < mine:
                continue
            if (before := self._done.get(number)) is None:
                yield number, unit
            elif before != unit.digest:
                raise DataError(
                    f"the inputs have changed: {unit} stands where another one was done (unit {number}); {_ADVICE}"
                )
            mine = next(self._tickets)


def left(done: Mapping[int, str], count: int) -> list[int]:
    """List the numbers of the units that are still to do.

    Raises:
        DataError: Units are done that the inputs, which have `count` units, do not hold.
    """
    if surplus := len(done) - sum(number in done for number in range(count)):
        raise DataError(f"the inputs have changed: they have {count} units, and {surplus} others were done; {_ADVICE}")
    return [number for number in range(count) if number not in done]
