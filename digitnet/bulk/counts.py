"""What came of a unit, or of many, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from digitnet.config import NUM_CLASSES
from digitnet.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many pictures there were, and how they were answered."""

    inputs: int = 0
    """All, those that could not be read and damaged shards included: each has a line in the part."""
    answered: int = 0
    turned_away: int = 0
    errors: int = 0
    """What could not be read."""
    digits: tuple[int, ...] = (0,) * NUM_CLASSES
    """How many of the answered are each digit; with --number, each digit of theirs."""
    seconds: float = 0.0
    """That workers took for it, added up."""

    def __add__(self, other: Counts) -> Counts:
        """Add up."""
        return Counts(
            inputs=self.inputs + other.inputs,
            answered=self.answered + other.answered,
            turned_away=self.turned_away + other.turned_away,
            errors=self.errors + other.errors,
            digits=tuple(map(sum, zip(self.digits, other.digits, strict=True))),
            seconds=self.seconds + other.seconds,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the digits by their names."""
        return asdict(self) | {"digits": {str(digit): count for digit, count in enumerate(self.digits)}}

    @classmethod
    def from_dict(cls, values: dict[str, Any], path: Path) -> Counts:
        """Rebuild what ``to_dict`` returned and a file held, trusting nothing.

        Raises:
            DataError: It is none.
        """
        names = [field.name for field in fields(cls) if field.name not in ("digits", "seconds")]
        digits, seconds = values.get("digits"), values.get("seconds")
        whole: list[Any] = [values.get(name) for name in names]
        if isinstance(digits, dict) and list(digits) == [str(digit) for digit in range(NUM_CLASSES)]:
            whole += digits.values()
        fits = len(whole) == len(names) + NUM_CLASSES and all(type(count) is int and count >= 0 for count in whole)
        if not fits or not isinstance(seconds, int | float) or whole[0] != sum(whole[1 : len(names)]):
            raise DataError(f"{path} is damaged: it holds no counts; remove it, and its unit is done again")
        return cls(**dict(zip(names, whole, strict=False)), digits=tuple(whole[len(names) :]), seconds=float(seconds))
