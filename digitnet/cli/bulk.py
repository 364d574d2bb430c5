"""``digitnet predict --output``: answers in part files, over as many starts as it takes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from digitnet import __version__
from digitnet.errors import PictureError

if TYPE_CHECKING:
    from digitnet.bulk.counts import Counts
    from digitnet.bulk.work import Answer, Reader
    from digitnet.predictor import Classifier

TOLD_ERRORS = 20  # of what may be a million, all of which are in the parts


def predict_in_bulk(
    classifier: Classifier, inputs: list[str], folder: Path, *, top_k: int, number: bool, reject_rate: float
) -> Counts:
    """Write what is missing of the answers, and say what all of them came to.

    Raises:
        UsageError: The folder is none, or holds something else.
        DataError: The inputs are no longer those of the parts that are done.
        PictureError: There is nothing to read.
    """
    from digitnet.atomic import check_folder
    from digitnet.bulk.parts import SUMMARY, begin, clear, find_done, read_counts, write_json
    from digitnet.console.bulk import bulk_summary
    from digitnet.runs import locked

    check_folder(folder, "--output")
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"top_k": top_k, "number": number, "reject_rate": reject_rate}
    made_of = _made_of(classifier, inputs, settings)
    with locked(folder, "filled"), _last_words(folder):
        begin(folder, made_of)
        clear(folder)
        started = time.monotonic()
        here, units = _work(classifier, inputs, folder, top_k, number, reject_rate)
        done = find_done(folder)
        totals = read_counts(folder, done)
        if not totals.inputs:
            raise PictureError("the list on stdin is empty")
        write_json(folder / SUMMARY, {**made_of, "units": units, **totals.to_dict()})
    typer.echo(bulk_summary(folder, units, totals, here, time.monotonic() - started))
    return totals


def _work(
    classifier: Classifier, inputs: list[str], folder: Path, top_k: int, number: bool, reject_rate: float
) -> tuple[int, int]:
    """Do the units that are missing; return how many inputs were read, and how many units there are."""
    from digitnet.assignment import Share, left
    from digitnet.bulk.parts import find_done
    from digitnet.bulk.units import units
    from digitnet.bulk.work import do_unit
    from digitnet.console.notes import note
    from digitnet.inputs import expand
    from digitnet.reports import answer_report

    if done := find_done(folder):
        note(f"{len(done):,} {'part is' if len(done) == 1 else 'parts are'} there already.")
    share = Share(units(expand(inputs)), count(), done)
    read, report = _reader(classifier, number, reject_rate), partial(answer_report, top_k=top_k)
    here = 0
    with _watching() as seen:
        for place, unit in share:
            here += do_unit(place, unit, folder, read, report, seen).inputs
    left(find_done(folder), share.seen)
    return here, share.seen


def _reader(classifier: Classifier, number: bool, reject_rate: float) -> Reader:
    from digitnet.numbers import read_numbers

    if number:
        return partial(read_numbers, classifier, reject_rate=reject_rate)
    return partial(classifier.predict_files, reject_rate=reject_rate)


def _made_of(classifier: Classifier, inputs: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    """Describe all that the answers depend on, but for the pictures themselves and the device."""
    from digitnet.bulk.units import UNIT_PICTURES

    with classifier.path.open("rb") as stream:
        network = hashlib.file_digest(stream, "sha256").hexdigest()
    precision = str(classifier.dtype).removeprefix("torch.")
    return {
        "digitnet": __version__,
        "network": network,
        **settings,
        "precision": precision,
        "unit_pictures": UNIT_PICTURES,
        "inputs": inputs,
    }


@contextmanager
def _watching() -> Iterator[Any]:
    """Count answers in a terminal, and tell of the first that could not be read."""
    from digitnet.console.notes import counting, note
    from digitnet.sources import Unreadable

    told = 0
    with counting("pictures") as count_one:

        def seen(answer: Answer) -> None:
            nonlocal told
            count_one()
            if isinstance(answer, Unreadable) and told <= TOLD_ERRORS:
                told += 1
                note(f"error: {answer.error}" if told <= TOLD_ERRORS else "Further errors are told in the parts alone.")

        yield seen


@contextmanager
def _last_words(folder: Path) -> Iterator[None]:
    """Say, where a person ends it, what is left of it."""
    from digitnet.console.notes import note

    try:
        yield
    except KeyboardInterrupt:
        note(f"The parts that are whole are kept in {folder}; the same command goes on with what is missing.")
        raise
