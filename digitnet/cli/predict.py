"""``digitnet predict``: pictures to digits, one answer a file, as they come."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from digitnet.cli.bulk import Asked, predict_in_bulk
from digitnet.cli.launched import settings_of
from digitnet.cli.options import CheckpointOption, DeviceOption, ReadingPrecisionOption, parse_rate, print_json
from digitnet.config import REJECT_RATE
from digitnet.errors import PictureError, ThresholdError, UsageError, printable
from digitnet.launch import read_launch

if TYPE_CHECKING:
    import torch

    from digitnet.numbers import NumberPrediction
    from digitnet.predictor import Classifier, Prediction
    from digitnet.sources import Unreadable

Form = Literal["text", "json", "jsonl", "csv"]


def predict(
    ctx: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Pictures, folders, tar shards, patterns such as 'scans/*.png' or 'train-{000..099}.tar', or - for "
            "stdin: a list of pictures and shards, or one picture.",
        ),
    ],
    checkpoint: CheckpointOption = None,
    top_k: Annotated[
        int | None,
        typer.Option(min=1, max=10, help="How many digits to name for each picture, likeliest first. Left out: 3."),
    ] = None,
    number: Annotated[
        bool, typer.Option("--number", help="Read all digits of each picture as a number, in one line or several.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON document a line for each picture.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values with a heading.")] = False,
    show: Annotated[
        bool,
        typer.Option("--show", help="Say what was done to each picture, and draw the 28x28 that the network saw."),
    ] = False,
    reject_rate: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Turn away what is less like a digit, or a number, than all but this share of real ones: 0.01 or 1%. "
            f"0 accepts all that has ink. Left out: {REJECT_RATE:.0%}.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the answers into DIR as JSON lines, in parts of a tar shard or 10,000 pictures, and print how "
            "many there are of each kind. The same command once more does what is missing.",
        ),
    ] = None,
    fail_on_reject: Annotated[
        bool, typer.Option("--fail-on-reject", help="End with exit code 4 where a picture is turned away.")
    ] = False,
    device: DeviceOption = "auto",
    precision: ReadingPrecisionOption = "fp32",
) -> None:
    """Read the digit, or with --number the number, in each picture; what is none is turned away.

    Dark on light or light on dark, of any size, turned as its EXIF data say. A file that cannot be read is reported
    on its own, the rest go on, and the exit code is 3. With --output, several processes may share the work, under
    torchrun, PyTorch's launcher: see docs/scale.md.
    """
    _check(ctx.params)
    rate = REJECT_RATE if reject_rate is None else parse_rate(reject_rate, "--reject-rate")
    asked = Asked(top_k=top_k or 3, number=number, reject_rate=rate)
    form: Form = "json" if json_ else "jsonl" if jsonl else "csv" if csv else "text"

    from digitnet.device import choose_device, choose_precision, keep_freed_memory

    keep_freed_memory()
    place = choose_device(device)
    dtype = choose_precision(precision, place)
    if output is None:
        failed, rejected = _print_answers(_load(checkpoint, place, dtype), inputs, asked, form, show)
    else:
        from digitnet.distributed import joined

        with joined(settings_of(ctx.params), place.type) as world:
            totals = predict_in_bulk(_load(checkpoint, place, dtype), inputs, output, asked, world)
        if world.size > 1 or world.launch.launcher_serves:
            return  # a launcher would take any exit code but 0 for a process that failed, and start all of them anew
        failed, rejected = totals.errors, totals.turned_away
    _end(failed, rejected if fail_on_reject else 0)


def _load(checkpoint: str | None, device: torch.device, dtype: torch.dtype) -> Classifier:
    from digitnet.console.notes import note_checkpoint
    from digitnet.predictor import Classifier

    classifier = Classifier.load(checkpoint, device, dtype)
    note_checkpoint(classifier)
    return classifier


def _print_answers(classifier: Classifier, inputs: list[str], asked: Asked, form: Form, show: bool) -> tuple[int, int]:
    """Print an answer for each picture as it comes; return how many could not be read, and how many are turned away.

    Raises:
        PictureError: There is nothing to read.
    """
    from digitnet.console.notes import counting, note
    from digitnet.reports import prediction_report
    from digitnet.sources import Unreadable

    print_answer = _printer(form, asked)
    kept: list[Prediction | NumberPrediction | Unreadable] = []
    read = failed = rejected = 0
    with counting("pictures") as count_one:
        for answer in _answers(classifier, inputs, asked, show):
            count_one()
            read += 1
            if isinstance(answer, Unreadable):
                failed += 1
                note(f"error: {answer.error}")
            else:
                rejected += not answer.accepted
            if form == "json":
                kept.append(answer)
            else:
                print_answer(answer)
    if form == "json":
        print_json(prediction_report(classifier, kept, asked.top_k))
    if not read:
        raise PictureError("the list on stdin is empty")
    return failed, rejected


def _check(given: Mapping[str, Any]) -> None:
    """Refuse options that contradict each other, or mean nothing together."""
    number, csv = given["number"], given["csv"]
    refused = {
        "give one of --json, --jsonl and --csv": given["json_"] + given["jsonl"] + csv > 1,
        "--csv holds all ten probabilities, so --top-k has no meaning with it": csv and given["top_k"],
        "--csv has no place for what --show adds; give --json or --jsonl, or neither": csv and given["show"],
        "--number gives the likeliest number alone, so --top-k has no meaning with it": number and given["top_k"],
        "--show is for pictures of one digit; --number --json gives a box for each": number and given["show"],
        "--output writes JSON lines into a folder, so --json, --jsonl, --csv and --show have no meaning with it": (
            given["output"] is not None and any(given[name] for name in ("json_", "jsonl", "csv", "show"))
        ),
        "several processes write their answers into a folder; name it by --output": (
            given["output"] is None and read_launch().size > 1
        ),
        # A shell's unset variable; the empty path would be the folder that we are in.
        "one of the inputs is empty": "" in given["inputs"],
    }
    for message, applies in refused.items():
        if applies:
            raise UsageError(message)


def _end(failed: int, rejected: int) -> None:
    """Say what is missing among the answers; a file that could not be read weighs more than one turned away."""
    faults = [f"{failed} {'input' if failed == 1 else 'inputs'} could not be read"] if failed else []
    if rejected:
        faults.append(f"{rejected} {'picture was' if rejected == 1 else 'pictures were'} turned away")
    if faults:
        raise (PictureError if failed else ThresholdError)(", and ".join(faults))


def _answers(
    classifier: Classifier, inputs: list[str], asked: Asked, show: bool
) -> Iterator[Prediction | NumberPrediction | Unreadable]:
    """Read the pictures one at a time, for a digit each or for a number."""
    from digitnet.inputs import expand, unpack

    sources = unpack(expand(inputs))
    if asked.number:
        from digitnet.numbers import read_numbers

        return read_numbers(classifier, sources, reject_rate=asked.reject_rate)
    return classifier.predict_files(sources, reject_rate=asked.reject_rate, show=show)


def _printer(form: Form, asked: Asked) -> Callable[[Prediction | NumberPrediction | Unreadable], None]:
    """Return what prints an answer as it comes, having printed the heading if there is one."""
    from digitnet import reports
    from digitnet.console.answers import number_line, prediction_line, prepared_lines
    from digitnet.predictor import Prediction
    from digitnet.sources import Unreadable

    show = printable if sys.stdout.isatty() else str  # a program gets a file's name as it is, a terminal no escapes
    if form == "csv":
        typer.echo(reports.csv_heading(reports.NUMBER_CSV_FIELDS if asked.number else reports.CSV_FIELDS))

    def print_answer(answer: Prediction | NumberPrediction | Unreadable) -> None:
        if form == "jsonl":
            typer.echo(json.dumps(reports.answer_report(answer, asked.top_k)))
        elif isinstance(answer, Prediction):
            typer.echo(show(reports.csv_row(answer)) if form == "csv" else prediction_line(answer, asked.top_k))
            if form == "text" and answer.prepared is not None:
                typer.echo(prepared_lines(answer.prepared))
        elif not isinstance(answer, Unreadable):
            typer.echo(show(reports.number_csv_row(answer)) if form == "csv" else number_line(answer))

    return print_answer
