"""What is said beside the results, on stderr: notes, and in a terminal bars that move."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.console.tables import WIDE, wrapped
from digitnet.errors import printable
from digitnet.launch import read_launch

if TYPE_CHECKING:  # each command brings in what it uses, and Rich is for tables and bars alone
    from rich.progress import Progress

    from digitnet.adapting import AdaptResult, FoldResult, TuneStep
    from digitnet.config import RunConfig
    from digitnet.predictor import Classifier
    from digitnet.progress import EpochResult, Result, RollbackResult

COUNT_STEP = 256
EPOCH_HEADING = "epoch       loss  accuracy  valid. loss  accuracy  images/s  seconds"


def note(message: str, *, own: bool = False) -> None:
    """Say something beside the results, on stderr.

    Of processes that were launched together the first one speaks, but of what is a process's ``own``.
    """
    if own or read_launch().is_first:
        print(*map(printable, message.split("\n")), sep="\n", file=sys.stderr)


def note_drawn(paths: Iterable[Path]) -> None:
    """Say which figures have been drawn, on stderr."""
    for path in paths:
        note(f"Drew {path}.")


def note_checkpoint(classifier: Classifier) -> None:
    """Say which network is used, on stderr."""
    record = classifier.checkpoint.record
    adapted = f", adapted to {record.adaptation.dataset}" if record.adaptation else ""
    note(printable(f"Using {classifier.name} (trained on {record.dataset}{adapted})."))  # even a line's end is shown


def note_sharing(config: RunConfig, processes: int, device: str) -> None:
    """Say that several processes share a training, what each of them sends, and what is not as in one process."""
    from digitnet.parallel import bytes_per_step

    if processes == 1:
        return
    sent = bytes_per_step(config.model, processes, device)
    note(f"{processes} processes share each batch; each sends {sent:,} bytes a step.")
    if config.model.batch_norm and device == "cpu":
        note("Batch norm takes each process's part of a batch by itself: PyTorch takes it whole on CUDA GPUs only.")


def _progress() -> Progress:
    """Make a bar with the time that is left; where stderr is no terminal, it is not shown."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    beside = (BarColumn(bar_width=8), TextColumn("{task.fields[figures]}"))  # all of it fits into 80 columns
    return Progress(
        TextColumn("{task.description}"),
        *(beside if console.width >= WIDE else ()),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def training_view() -> Iterator[Callable[[Result], None]]:
    """Show training on stderr: a line for each epoch, and in a terminal a bar that moves."""
    if not read_launch().is_first:
        yield lambda _: None
        return

    from rich.text import Text

    from digitnet.progress import EpochResult, RollbackResult, StepResult

    bar = _progress()
    console, validation = bar.console, ""
    with bar:
        task = bar.add_task("epoch 1", total=None, figures="")

        def show(result: Result) -> None:
            nonlocal validation
            if isinstance(result, EpochResult):
                if not validation and console.width >= WIDE:
                    console.print(EPOCH_HEADING, soft_wrap=True)
                validation = f" val {result.validation.accuracy:.2%}"
                line = epoch_line(result) if console.width >= WIDE else epoch_text(result, console.width)
                console.print(Text(line), soft_wrap=True)
            elif isinstance(result, RollbackResult):
                console.print(Text(rollback_text(result, console.width)), soft_wrap=True)
            elif isinstance(result, StepResult):
                loss = "" if result.loss is None else f"loss {result.loss:.4f}"
                figures = f"{loss}{validation} {result.images_per_s:,.0f} img/s"
                description = f"epoch {result.epoch}/{result.epochs} step {result.step}/{result.total_steps}"
                bar.update(task, description=description, figures=figures, total=result.total_steps)
                bar.update(task, completed=result.step, refresh=True)

        yield show


def epoch_line(result: EpochResult) -> str:
    """Put an epoch into a line of text, under ``EPOCH_HEADING``."""
    return (
        f"{f'{result.epoch}/{result.epochs}':<8}{result.train_loss:8.4f}{result.train_accuracy:10.2%}"
        f"{result.validation.loss:13.4f}{result.validation.accuracy:10.2%}{result.images_per_s:10,.0f}"
        f"{result.elapsed_s:9.1f}{'  best' if result.best else ''}"
    )


def epoch_text(result: EpochResult, width: int) -> str:
    """Put an epoch into lines of text for a terminal that is too narrow for the table."""
    figures = (
        f"loss {result.train_loss:.4f}, accuracy {result.train_accuracy:.2%}, "
        f"valid. loss {result.validation.loss:.4f}, accuracy {result.validation.accuracy:.2%}, "
        f"{result.images_per_s:,.0f} images/s, "
        f"{result.elapsed_s:.1f} seconds{', best' if result.best else ''}"
    )
    return wrapped(f"epoch {result.epoch}/{result.epochs}: {figures}", 2, width)


def rollback_text(result: RollbackResult, width: int) -> str:
    """Say that numbers went wrong, and what is done about it."""
    text = f"{result.reason}. Going on from step {result.step:,}, at {result.factor:g} times the rate."
    return wrapped(text, 2, width)


@contextmanager
def adapting_view() -> Iterator[Callable[[TuneStep | FoldResult | AdaptResult], None]]:
    """Show adapting on stderr: what is to come, a line for each fold, and in a terminal a bar that moves."""
    from rich.text import Text

    from digitnet.adapting import FoldResult, TuneStep

    bar = _progress()
    console = bar.console
    with bar:
        task = bar.add_task("network 1", total=None, figures="")
        told = False

        def show(result: TuneStep | FoldResult | AdaptResult) -> None:
            nonlocal told
            if isinstance(result, TuneStep):
                if not told:
                    told = True
                    text = (
                        f"{result.networks} fine-tunes of {result.steps} steps: one to use, the others to judge it by"
                    )
                    console.print(Text(text), soft_wrap=True)
                done = (result.network - 1) * result.steps + result.step
                description = f"network {result.network}/{result.networks} step {result.step}/{result.steps}"
                bar.update(task, description=description, total=result.networks * result.steps)
                bar.update(task, completed=done, refresh=True)
            elif isinstance(result, FoldResult):
                console.print(Text(fold_line(result)), soft_wrap=not console.is_terminal)

        yield show


def fold_line(fold: FoldResult) -> str:
    """Put a fold into a line of text."""
    return (
        f"part {fold.fold}/{fold.folds}, kept out: of {fold.count}, {fold.before} were read right before, "
        f"and {fold.after} after"
    )


@contextmanager
def counting(noun: str) -> Iterator[Callable[[], None]]:
    """Count what goes by on stderr in a terminal, once there is so much of it that a person waits."""
    if not (sys.stderr.isatty() and read_launch().is_first):
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
