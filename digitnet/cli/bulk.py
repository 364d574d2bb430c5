"""``digitnet predict --output``: answers in part files, over as many starts as it takes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from digitnet import __version__
from digitnet.bulk.counts import Counts
from digitnet.console.bulk import bulk_summary
from digitnet.errors import DataError, LaunchError, PictureError
from digitnet.sources import STDIN, Unreadable

if TYPE_CHECKING:
    from digitnet.bulk.units import Unit
    from digitnet.bulk.work import Answer, Reader
    from digitnet.distributed import World
    from digitnet.predictor import Classifier

TOLD_ERRORS = 20  # of what may be a million, all of which are in the parts


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options that answers depend on."""

    top_k: int
    """Digits that an answer names."""
    number: bool
    """Whether a picture holds a number, or one digit."""
    reject_rate: float
    """Share of real digits that may be turned away, in [0, 1]."""


def predict_in_bulk(
    classifier: Classifier,
    inputs: list[str],
    folder: Path,
    asked: Asked,
    world: World,
) -> Counts:
    """Write what is missing of the answers, together with the other processes of the launch, and say what all came to.

    Args:
        classifier: What reads the pictures.
        inputs: As they were typed.
        folder: Where the parts go.
        asked: The options that answers depend on.
        world: The processes of the launch.

    Raises:
        UsageError: The folder is none, or holds something else.
        LaunchError: A list on stdin cannot be read a second time.
        DataError: The inputs are no longer those of the parts that are done.
        PictureError: There is nothing to read.
    """
    from digitnet.bulk.parts import begin, clear
    from digitnet.reports import answer_report

    if STDIN in inputs and max(world.gather(world.launch.restarts)):  # which only the machine of a failure counts
        raise LaunchError("a list on stdin comes but once: start the same command again, with the list; parts are kept")
    made_of = _made_of(classifier, inputs, asked)
    with _filled(folder, world):
        if world.is_first:
            begin(folder, made_of)
            clear(folder)
        started = time.monotonic()
        read, report = _reader(classifier, asked), partial(answer_report, top_k=asked.top_k)
        here, units = _work(inputs, folder, read, report, world)
        everywhere = sum(world.gather(here))
        totals = world.broadcast(_merge(folder, made_of, units) if world.is_first else Counts())
    if world.is_first:  # which speaks for all
        if not totals.inputs:
            raise PictureError("the list on stdin is empty")
        typer.echo(bulk_summary(folder, units, totals, everywhere, time.monotonic() - started))
    return totals


@contextmanager
def _filled(folder: Path, world: World) -> Iterator[None]:
    """Make a folder, keep other launches out of it, and say, where a person ends this one, what is left."""
    from digitnet.atomic import check_folder
    from digitnet.console.notes import note
    from digitnet.runs import locked

    check_folder(folder, "--output")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder, "filled") if world.is_first else nullcontext():
            yield
    except KeyboardInterrupt:
        if world.is_first:
            note(f"The parts that are whole are kept in {folder}; the same command goes on with what is missing.")
        raise


def _work(
    inputs: list[str], folder: Path, read: Reader, report: Callable[[Answer], object], world: World
) -> tuple[int, int]:
    """Do units that are missing; return how many inputs were read here, and how many units there are."""
    from digitnet.assignment import Share
    from digitnet.bulk.parts import find_done
    from digitnet.bulk.work import do_unit
    from digitnet.console.notes import note

    done = world.broadcast(find_done(folder) if world.is_first else {})  # for which the others wait
    if done and world.is_first:
        note(f"{len(done):,} {'part is' if len(done) == 1 else 'parts are'} there already.")
    share = Share(_units(inputs, world), world.tickets("units"), done)
    here = 0
    with _watching() as seen:
        for place, unit in share:
            here += do_unit(place, unit, folder, read, report, seen).inputs
    return here, share.seen


def _units(inputs: list[str], world: World) -> Iterator[Unit]:
    """Walk the inputs, unit by unit; what is on stdin comes from the first process."""
    from digitnet.bulk.lists import posted_units, start_posting
    from digitnet.bulk.units import units
    from digitnet.inputs import expand

    if world.store is None or STDIN not in inputs:
        return units(expand(inputs))
    if world.is_first:
        start_posting(world.store, expand(inputs), world.size)
    return posted_units(world.store)


def _merge(folder: Path, made_of: dict[str, Any], units: int) -> Counts:
    """Add up the counts of all units, each once, and write the summary."""
    from digitnet.assignment import left
    from digitnet.bulk.parts import SUMMARY, find_done, read_counts, write_json

    done = find_done(folder)
    if missing := left(done, units):
        raise DataError(f"{folder} lacks {len(missing)} of {units} parts: other processes of this launch do not see it")
    totals = read_counts(folder, done)
    write_json(folder / SUMMARY, {"units": units, **totals.to_dict(), "made_of": made_of})
    return totals


def _reader(classifier: Classifier, asked: Asked) -> Reader:
    from digitnet.numbers import read_numbers

    if asked.number:
        return partial(read_numbers, classifier, reject_rate=asked.reject_rate)
    return partial(classifier.predict_files, reject_rate=asked.reject_rate)


def _made_of(classifier: Classifier, inputs: list[str], asked: Asked) -> dict[str, Any]:
    """Describe all that the answers depend on, but for the pictures themselves and the device."""
    from digitnet.bulk.units import UNIT_PICTURES

    with classifier.path.open("rb") as stream:
        network = hashlib.file_digest(stream, "sha256").hexdigest()
    precision = str(classifier.dtype).removeprefix("torch.")
    return {
        "digitnet": __version__,
        "network": network,
        **asdict(asked),
        "precision": precision,
        "unit_pictures": UNIT_PICTURES,
        "inputs": inputs,
    }


@contextmanager
def _watching() -> Iterator[Any]:
    """Count answers in a terminal, and tell of the first that could not be read."""
    from digitnet.console.notes import counting, note

    told = 0
    with counting("pictures") as count_one:

        def seen(answer: Answer) -> None:
            nonlocal told
            count_one()
            if isinstance(answer, Unreadable) and told <= TOLD_ERRORS:
                told += 1
                more = "Further errors are told in the parts alone."
                note(f"error: {answer.error}" if told <= TOLD_ERRORS else more, own=True)

        yield seen
