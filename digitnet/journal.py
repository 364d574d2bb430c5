"""What a run has come to so far, in plain numbers: ``metrics.csv`` and ``curves.png`` are made of it."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass, fields, replace
from typing import Any, TypeVar

from digitnet.progress import EpochResult, Result, StepResult
from digitnet.state import Position
from digitnet.stopping import StopReason
from digitnet.values import check, read_dataclass


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """What an epoch came to; see ``EpochResult``."""

    epoch: int
    step: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    images_per_s: float
    elapsed_s: float
    best: bool


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """Where an epoch was, some twenty times; see ``StepResult``."""

    epoch: int
    step: int
    learning_rate: float
    loss: float | None
    counted: int


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ended."""

    epoch: int
    """The last, of which there may be a part."""
    elapsed_s: float
    stop: StopReason


RowT = TypeVar("RowT", EpochRow, StepRow)


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The rows of a run, in order."""

    epochs: tuple[EpochRow, ...] = ()
    steps: tuple[StepRow, ...] = ()

    def add(self, result: Result) -> Journal:
        """Return the journal with one more result in it; of states, nothing is noted."""
        if isinstance(result, StepResult):
            row = StepRow(**{field.name: getattr(result, field.name) for field in fields(StepRow)})
            return replace(self, steps=(*self.steps, row))
        return replace(self, epochs=(*self.epochs, _epoch_row(result))) if isinstance(result, EpochResult) else self

    def until(self, position: Position) -> Journal:
        """Return what of the journal was so when training was at a position."""
        return Journal(
            epochs=tuple(row for row in self.epochs if row.epoch <= position.epoch),
            steps=tuple(row for row in self.steps if row.step <= position.step),
        )

    def metrics(self) -> list[dict[str, float]]:
        """Return what ``metrics.csv`` says: the numbers of each epoch."""
        return [{name: value for name, value in asdict(row).items() if name != "best"} for row in self.epochs]

    def ending(self, position: Position) -> Ending | None:
        """Return how a run ended whose last state is at a position; None where it has not."""
        if position.stop is None:
            return None
        return Ending(epoch=self.epochs[-1].epoch, elapsed_s=position.elapsed_s, stop=position.stop)

    def to_dict(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return plain values: a list for each row, in the order of its fields."""
        return {"epochs": [astuple(row) for row in self.epochs], "steps": [astuple(row) for row in self.steps]}

    @classmethod
    def from_dict(cls, values: Any) -> Journal:
        """Rebuild a journal from what ``to_dict`` returned, trusting nothing.

        Raises:
            ValueError: It is none.
        """
        check(isinstance(values, dict) and set(values) == {"epochs", "steps"}, "journal", "epochs and steps", "else")
        return cls(epochs=_read_rows(EpochRow, values["epochs"]), steps=_read_rows(StepRow, values["steps"]))


def _epoch_row(result: EpochResult) -> EpochRow:
    return EpochRow(
        epoch=result.epoch,
        step=result.step,
        learning_rate=result.learning_rate,
        train_loss=result.train_loss,
        train_accuracy=result.train_accuracy,
        validation_loss=result.validation.loss,
        validation_accuracy=result.validation.accuracy,
        images_per_s=result.images_per_s,
        elapsed_s=result.elapsed_s,
        best=result.best,
    )


def _read_rows(kind: type[RowT], rows: Any) -> tuple[RowT, ...]:
    names = [field.name for field in fields(kind)]
    fits = isinstance(rows, list) and all(isinstance(row, list) and len(row) == len(names) for row in rows)
    check(fits, kind.__name__, f"rows of {len(names)} values", "else")
    return tuple(read_dataclass(kind, dict(zip(names, row, strict=True))) for row in rows)
