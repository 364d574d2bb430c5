"""The only place that formats for people: progress, tables and answers. What programs read is in ``reports.py``.

stdout carries results, stderr everything else. Where there is no terminal, there is no colour and no moving bar.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.config import REJECT_RATE
from digitnet.errors import printable
from digitnet.runs import BEST

if TYPE_CHECKING:  # each command brings in what it uses, and Rich is for tables and bars alone
    from rich.table import Table

    from digitnet.adapting import AdaptResult, FoldResult
    from digitnet.calibration import Calibration
    from digitnet.checkpoint import Adaptation, Checkpoint
    from digitnet.comparison import Comparison
    from digitnet.data.digits import Digits
    from digitnet.engine import EpochResult, Result
    from digitnet.evaluation import Sureness
    from digitnet.metrics import Metrics
    from digitnet.numbers import NumberPrediction
    from digitnet.pictures import Prepared
    from digitnet.predictor import Classifier, Prediction
    from digitnet.suite import SuiteRow
    from digitnet.summary import Layer

COUNT_STEP = 256
MEAN_LABEL = "mean of the copies"

STOPS = {
    "epochs": "trained to the end",
    "patience": "no better validation loss for --patience epochs",
    "until-accuracy": "--until-accuracy reached",
    "time-budget": "--time-budget used up",
}


def note(message: str) -> None:
    """Say something beside the results, on stderr."""
    print(*map(printable, message.split("\n")), sep="\n", file=sys.stderr)


def note_checkpoint(classifier: Classifier) -> None:
    """Say which network is used, on stderr."""
    record = classifier.checkpoint.record
    adapted = f", adapted to {record.adaptation.dataset}" if record.adaptation else ""
    note(f"Using {classifier.name} (trained on {record.dataset}{adapted}).")


@contextmanager
def training_view() -> Iterator[Callable[[Result], None]]:
    """Show training on stderr: a line for each epoch, and in a terminal a bar that moves."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    from digitnet.engine import EpochResult

    console = Console(stderr=True, highlight=False)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=8),  # all of it fits into 80 columns
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    validation = ""
    with bar:
        task = bar.add_task("epoch 1", total=None, figures="")

        def show(result: Result) -> None:
            nonlocal validation
            if isinstance(result, EpochResult):
                if result.epoch == 1:
                    console.print(EPOCH_HEADING, soft_wrap=True)
                validation = f" val {result.validation.accuracy:.2%}"
                console.print(Text(epoch_line(result)), soft_wrap=True)
            else:
                loss = "" if result.loss is None else f"loss {result.loss:.4f}"
                figures = f"{loss}{validation} {result.images_per_s:,.0f} img/s"
                description = f"epoch {result.epoch}/{result.epochs} step {result.step}/{result.total_steps}"
                bar.update(task, description=description, figures=figures, total=result.total_steps)
                bar.update(task, completed=result.step, refresh=True)

        yield show


EPOCH_HEADING = "epoch       loss  accuracy  valid. loss  accuracy  images/s  seconds"


def epoch_line(result: EpochResult) -> str:
    """Put an epoch into a line of text, under ``EPOCH_HEADING``."""
    return (
        f"{f'{result.epoch}/{result.epochs}':<8}{result.train_loss:8.4f}{result.train_accuracy:10.2%}"
        f"{result.validation.loss:13.4f}{result.validation.accuracy:10.2%}{result.images_per_s:10,.0f}"
        f"{result.elapsed_s:9.1f}{'  best' if result.best else ''}"
    )


def print_run(folder: Path, checkpoint: Checkpoint, last: EpochResult, data_dir: Path | None) -> None:
    """Sum up a run: what came of it, where it is, and what to type next."""
    record, path, program = checkpoint.record, folder / BEST, os.environ.get("DIGITNET_PROG", "digitnet")
    parameters = sum(p.numel() for p in checkpoint.build().parameters())
    data = f" --data-dir {shlex.quote(str(data_dir))}" if data_dir else ""
    _print_pairs(
        ("network", f"{checkpoint.config.kind}, {parameters:,} parameters"),
        (
            "data",
            f"{record.dataset}: {record.train_size:,} images, and {record.validation_size:,} for validation",
        ),
        (
            "best",
            f"epoch {record.epoch} of {last.epoch}, validation accuracy {record.validation_accuracy:.2%}",
        ),
        (
            "time",
            f"{last.elapsed_s:.1f} s on {record.device} in {record.precision}; {STOPS[last.stop or 'epochs']}",
        ),
        ("saved", str(path)),
        ("next", f"{program} eval --checkpoint {shlex.quote(str(folder))}{data}"),
        ("", f"{program} predict --checkpoint {shlex.quote(str(folder))} YOUR_PICTURE.png"),
    )


def fold_line(fold: FoldResult) -> str:
    """Put a fold into a line of text."""
    return (
        f"part {fold.fold}/{fold.folds}, kept out: of {fold.count}, {fold.before} were read right before, "
        f"and {fold.after} after"
    )


def print_adaptation(path: Path | None, adaptation: Adaptation, result: AdaptResult) -> None:
    """Sum up what adapting came to: the hand and the validation images before and after, and what to type next."""
    program, count = os.environ.get("DIGITNET_PROG", "digitnet"), result.pictures
    before, after = result.validation_before, result.validation_after
    gain = "" if result.after > result.before else "; no gain is shown"
    _print_pairs(
        ("pictures", f"{adaptation.dataset}: {count:,}"),
        ("your hand", f"{result.before / count:.2%} before, {result.after / count:.2%} after, each picture read by"),
        ("", f"a network adapted without it, in {len(result.folds)} parts{gain}"),
        ("learnt", f"{result.learnt / count:.2%} after, of the pictures it has learnt: no measure of new ones"),
        ("validation", f"{before.accuracy:.2%} before, {after.accuracy:.2%} after, on {adaptation.rehearsal}"),
        ("time", f"{result.elapsed_s:.1f} s, {adaptation.steps} steps for each of {len(result.folds) + 1} networks"),
        ("saved", str(path) if path else "nothing"),
    )
    if path:
        _print_pairs(("next", f"{program} predict --checkpoint {shlex.quote(str(path.parent))} YOUR_PICTURE.png"))


def print_evaluation(
    classifier: Classifier, digits: Digits, split: str, metrics: Metrics, sureness: Sureness, elapsed_s: float
) -> None:
    """Show what an evaluation counted."""
    from rich.console import Console

    low, high = metrics.interval
    _print_pairs(
        ("data", f"{digits.name}, {split}: {metrics.count:,} images"),
        ("accuracy", f"{metrics.accuracy:.2%}, 95% interval {low:.2%} to {high:.2%}"),
        ("errors", f"{metrics.count - metrics.correct:,}"),
        ("loss", f"{metrics.loss:.4f} ({classifier.checkpoint.config.train.loss})"),
        ("sureness", f"{sureness.reliability.error:.2%} off on average (expected calibration error)"),
        ("speed", f"{metrics.count / elapsed_s:,.0f} images/s on {classifier.device.type}"),
    )
    scores = _table("digit", "precision", "recall", "F1", "images")
    for digit, s in enumerate(metrics.per_digit):
        scores.add_row(str(digit), f"{s.precision:.2%}", f"{s.recall:.2%}", f"{s.f1:.2%}", f"{s.support:,}")
    confusion = _table("digit", *map(str, range(10)))
    for digit, row in enumerate(metrics.confusion):
        confusion.add_row(str(digit), *(f"{count:,}" if count else "." for count in row))
    out = Console(highlight=False)
    out.print(scores)
    out.print("rows: the true digit; columns: what the network read")
    out.print(confusion)
    out.print("answers by how sure they are, and what share of them is right")
    out.print(_reliability_table(sureness))
    out.print("by --reject-rate: what is turned away here, and what share of the rest is right")
    out.print(_coverage_table(sureness))


def _reliability_table(sureness: Sureness) -> Table:
    table = _table("confidence", "mean", "images", "right", "too sure by")
    for b in sureness.reliability.bins:
        shares = (f"{b.confidence:.2%}", f"{b.count:,}", f"{b.accuracy:.2%}", f"{b.confidence - b.accuracy:+.2%}")
        table.add_row(f"{b.low:.1%} to {b.high:.1%}", *shares)
    return table


def _coverage_table(sureness: Sureness) -> Table:
    table = _table("reject rate", "turned away", "answered", "right", "errors")
    for row in sureness.coverages:
        right = "" if row.accuracy is None else f"{row.accuracy:.2%}"
        counts = (f"{row.answered:,}", right, f"{row.errors:,}")
        table.add_row(f"{row.reject_rate:.1%}", f"{1 - row.coverage:.2%}", *counts)
    return table


def print_info(checkpoint: Checkpoint, layers: list[Layer]) -> None:
    """Show what a checkpoint is made of and how it came about."""
    from rich.console import Console

    table = _table("layer", "kind", "output", "parameters", "multiply-adds")
    table.columns[1].justify = "left"
    for layer in layers:
        shape = "x".join(map(str, layer.output_shape))
        table.add_row(layer.name, layer.kind, shape, f"{layer.parameters:,}", f"{layer.multiply_adds:,}")
    table.add_section()
    parameters, multiply_adds = sum(x.parameters for x in layers), sum(x.multiply_adds for x in layers)
    table.add_row("in all", "", "", f"{parameters:,}", f"{multiply_adds:,}")
    Console(highlight=False).print(table)
    r = checkpoint.record
    _print_pairs(
        (
            "data",
            f"{r.dataset} ({r.fingerprint}): {r.train_size:,} images, and {r.validation_size:,} for validation",
        ),
        (
            "best epoch",
            f"{r.epoch}, after {r.step:,} steps and {r.elapsed_s:.1f} s on {r.device} in {r.precision}",
        ),
        ("validation", f"accuracy {r.validation_accuracy:.2%}, loss {r.validation_loss:.4f}"),
        ("calibrated", _calibration_line(checkpoint.calibration)),
        ("made with", f"digitnet {r.digitnet}, torch {r.torch}"),
    )
    if a := r.adaptation:
        _print_pairs(("adapted", f"from {a.source} to {a.size:,} pictures of {a.dataset}, rehearsing {a.rehearsal}"))
    for name, settings in checkpoint.config.to_dict().items():
        shown = ", ".join(f"{key} {_setting(value)}" for key, value in settings.items())
        lines = textwrap.wrap(shown, width=68, break_long_words=False)
        _print_pairs((name, lines[0]), *(("", line) for line in lines[1:]))


def _calibration_line(calibration: Calibration) -> str:
    needed = calibration.thresholds.score(REJECT_RATE)
    return f"temperature {calibration.temperature:.3f}; {REJECT_RATE:.0%} of its digits score under {needed:.2f}"


def _setting(value: object) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def prediction_line(answer: Prediction, top_k: int) -> str:
    """Put an answer into a line: the path, the digit, its probability and the runners-up; or why it is turned away."""
    if answer.reason is not None:
        return f"{printable(answer.path or '')}: turned away: {_reason(answer)}"
    runners_up = ", ".join(f"{digit} {_probability(prob)}" for digit, prob in answer.top(top_k)[1:])
    then = f"  then {runners_up}" if runners_up else ""
    return f"{printable(answer.path or '')}: {answer.digit}  {_probability(answer.confidence)}{then}"


def _reason(answer: Prediction) -> str:
    match answer.reason:
        case "blank":
            return "blank"
        case "several digits":
            return "several digits; --number reads them"
        case _:
            return f"not like a digit (nearest {answer.digit}, {_probability(answer.confidence)})"


def number_line(answer: NumberPrediction) -> str:
    """Put a number into a line of text: the path, the digits, a space between their lines, and the probability."""
    path = printable(answer.path or "")
    if answer.reason is not None:
        return f"{path}: turned away: {answer.reason}"
    return f"{path}: {answer.number}  {_probability(answer.confidence)}"


def prepared_lines(prepared: Prepared) -> str:
    """Say what was done to a picture, and draw what the network saw, indented below its answer."""
    from digitnet.drawing import describe, draw_digit

    said = [] if prepared.steps is None else [describe(prepared.steps)]
    return "\n".join(f"  {line}" for line in [*said, *draw_digit(prepared.pixels, sys.stdout.encoding)])


def _probability(prob: float) -> str:
    """Put a probability into per cent; no network is certain, so none is 0 or 100."""
    return ">99.99%" if prob > 0.9999 else "<0.01%" if prob < 0.0001 else f"{prob:.2%}"


@contextmanager
def counting(noun: str) -> Iterator[Callable[[], None]]:
    """Count what goes by on stderr in a terminal, once there is so much of it that a person waits."""
    if not sys.stderr.isatty():
        yield lambda: None
        return

    from rich.console import Console
    from rich.progress import Progress, TextColumn

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn(f"{{task.completed:,}} {noun}"), TextColumn("{task.fields[rate]}"))
    # Where results go to the same terminal, rich prints them above the bar.
    shared = sys.stdout.isatty()
    bar = Progress(*columns, console=console, transient=True, redirect_stdout=shared, redirect_stderr=shared)
    task = bar.add_task("", total=None, rate="")
    count = 0

    def count_one() -> None:
        nonlocal count
        count += 1
        if count % COUNT_STEP == 0:
            bar.start()
            elapsed_s = bar.tasks[0].elapsed or math.inf
            bar.update(task, completed=count, rate=f"{count / elapsed_s:,.0f}/s")

    try:
        yield count_one
    finally:
        if count >= COUNT_STEP:
            bar.stop()


def _print_pairs(*pairs: tuple[str, str]) -> None:
    for name, value in pairs:
        print(f"{name:<11}{printable(value)}")


def _table(first: str, *others: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)  # 80 columns
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def print_comparison(other: Classifier, comparison: Comparison) -> None:
    """Show how another network did on the images of an evaluation, and what the difference means."""
    c = comparison
    print()
    _print_pairs(
        ("against", f"{other.name}: accuracy {c.other_accuracy:.2%}, {c.count - c.other_correct:,} errors"),
        ("only one", f"read rightly by this network alone: {c.only_this:,}; by the other alone: {c.only_other:,}"),
        ("p-value", f"{_p_value(c.p_value)} (McNemar's exact test)"),
        ("so", c.conclusion),
    )


def print_suite(rows: Iterable[SuiteRow], labels: Sequence[str]) -> list[SuiteRow]:
    """Show each row of the suite as soon as it is there, and return them all.

    Args:
        rows: What ``suite_rows`` yields.
        labels: What these rows will be called.
    """
    shown: list[SuiteRow] = []
    width = _width(labels, 34)
    print(f"{'set':<{width}}{'images':>8}{'accuracy':>10}{'95% interval':>20}{'errors':>8}", flush=True)
    for row in rows:
        if shown and shown[-1].variant and not row.variant:
            _print_mean(shown, width)
        m, (low, high) = row.metrics, row.metrics.interval
        figures = f"{m.count:8,}{m.accuracy:10.2%}{f'{low:.2%} to {high:.2%}':>20}{m.count - m.correct:8,}"
        print(f"{_fitted(row.label, width)}{figures}", flush=True)
        shown.append(row)
    if shown[-1].variant:
        _print_mean(shown, width)
    return shown


def _print_mean(rows: Sequence[SuiteRow], width: int) -> None:
    from digitnet.suite import mean_of_copies

    print(f"{MEAN_LABEL:<{width}}{'':8}{mean_of_copies(rows)[0]:10.2%}")


def print_suite_comparison(other: Classifier, rows: Sequence[SuiteRow]) -> None:
    """Show how another network did on the sets of the suite."""
    from digitnet.suite import mean_of_copies

    width = _width([row.label for row in rows], 30)
    print(f"\nagainst {printable(other.name)}")
    print(f"{'set':<{width}}{'accuracy':>10}{'other':>9}{'only this':>11}{'only other':>12}{'p':>7}")
    for row in rows:
        if c := row.comparison:
            star = "*" if c.significant else ""
            counts = f"{c.only_this:11,}{c.only_other:12,}{_p_value(c.p_value):>7}{star}"
            print(f"{_fitted(row.label, width)}{c.accuracy:10.2%}{c.other_accuracy:9.2%}{counts}")
    this, that = mean_of_copies(rows)
    print(f"{MEAN_LABEL:<{width}}{this:10.2%}{that:9.2%}")
    print(
        "only this, only other: images that one network alone reads rightly\n"
        "p: how often chance alone would make such a difference (McNemar's exact test);\n"
        "*: unlikely to be chance. Without it, the difference may be chance; and of\n"
        "twenty rows that chance decides, about one gets a * all the same."
    )


def _p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _width(labels: Sequence[str], most: int) -> int:
    return min(max(len(printable(label)) for label in (*labels, MEAN_LABEL)), most)


def _fitted(label: str, width: int) -> str:
    """Bring a label to a width; of a path that is too long, the end says more than the beginning."""
    shown = printable(label)
    return f"{shown:<{width}}" if len(shown) <= width else f"...{shown[3 - width :]}"
