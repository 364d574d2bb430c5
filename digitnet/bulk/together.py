"""What a bulk prediction needs of the processes that share it, and one process alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")


class Together(Protocol):
    """The processes of a launch, as one of them sees them."""

    @property
    def is_first(self) -> bool:
        """Whether this one speaks, and writes what there is one of."""

    @property
    def size(self) -> int:
        """How many there are."""

    @property
    def store(self) -> Store | None:
        """What they share; None where there is one process."""

    def tickets(self, name: str) -> Iterator[int]:
        """Count from 0 for ever; each number goes to one process only."""

    def gather(self, value: T) -> list[T]:
        """Return what each process has given."""

    def broadcast(self, value: T) -> T:
        """Return what the first process has given."""


class Alone:
    """One process."""

    is_first, size, store = True, 1, None

    def tickets(self, _name: str) -> Iterator[int]:
        """Count from 0 for ever."""
        return count()

    def gather(self, value: T) -> list[T]:
        """Return the value."""
        return [value]

    def broadcast(self, value: T) -> T:
        """Return the value."""
        return value
