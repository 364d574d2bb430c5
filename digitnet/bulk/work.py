"""What one worker does with a unit: every picture answered, a line each, and counted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from digitnet.bulk.counts import Counts
from digitnet.bulk.parts import finish_part, writing_part
from digitnet.bulk.units import Unit
from digitnet.config import NUM_CLASSES
from digitnet.numbers import NumberPrediction
from digitnet.predictor import Prediction
from digitnet.sources import Source, Unreadable

Answer = Prediction | NumberPrediction | Unreadable
Reader = Callable[[Iterable[Source | Unreadable | None]], Iterator[Answer]]


def do_unit(
    number: int,
    unit: Unit,
    folder: Path,
    read: Reader,
    report: Callable[[Answer], object],
    seen: Callable[[Answer], None],
) -> Counts:
    """Answer all pictures of a unit, and write its part and its counts.

    Args:
        number: The unit's.
        unit: What to read.
        folder: Where to write.
        read: Reads the pictures, in order.
        report: Makes of an answer what JSON has.
        seen: Is shown each answer.

    Raises:
        OSError: The part cannot be written.
    """
    started = time.perf_counter()
    tally = Tally()
    try:
        with writing_part(folder, number) as draft:
            for answer in read(unit.sources()):
                tally.add(answer)
                draft.stream.write(json.dumps(report(answer)).encode() + b"\n")
                seen(answer)
            counts = tally.total(time.perf_counter() - started)
            finish_part(folder, number, unit.digest, draft, counts)
    except OSError as error:  # of which those of write() and fsync() name no file
        error.filename = error.filename or str(folder)
        raise
    return counts


class Tally:
    """Counts answers as they come."""

    def __init__(self) -> None:
        self._answered = self._turned_away = self._errors = 0
        self._digits = [0] * NUM_CLASSES

    def add(self, answer: Answer) -> None:
        """Count one."""
        if isinstance(answer, Unreadable):
            self._errors += 1
        elif not answer.accepted:
            self._turned_away += 1
        else:
            self._answered += 1
            for digit in str(answer.digit) if isinstance(answer, Prediction) else answer.number.replace(" ", ""):
                self._digits[int(digit)] += 1

    def total(self, seconds: float) -> Counts:
        """Return what was counted, and how long it took."""
        return Counts(
            inputs=self._answered + self._turned_away + self._errors,
            answered=self._answered,
            turned_away=self._turned_away,
            errors=self._errors,
            digits=tuple(self._digits),
            seconds=seconds,
        )
