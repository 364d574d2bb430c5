"""The curves of a run: what training yielded, epoch by epoch and within the epochs, gathered and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitnet.journal import Journal, StepRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = tuple[tuple[float, float], ...]
"""Pairs of a step and a number."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The numbers of a run, by step; steps are counted from 1."""

    pieces: Points
    """Mean training loss of each piece of an epoch, some twenty of them, at its last step."""
    train_loss: Points
    """At the end of each epoch, as all the following."""
    train_accuracy: Points
    validation_loss: Points
    validation_accuracy: Points
    learning_rate: Points
    """Some twenty times an epoch."""
    best: int
    """The epoch that was kept, counted from 1."""
    steps_per_epoch: int
    """Of a whole epoch, of which steps or a time budget may leave a part."""


def gather_curves(journal: Journal, steps_per_epoch: int) -> Curves:
    """Gather the numbers of a run that has ended.

    Args:
        journal: Of the run.
        steps_per_epoch: Of a whole epoch.
    """
    epochs = journal.epochs
    rates = {row.step: row.learning_rate for row in journal.steps} | {row.step: row.learning_rate for row in epochs}
    return Curves(
        pieces=_pieces(journal.steps),
        train_loss=tuple((e.step, e.train_loss) for e in epochs),
        train_accuracy=tuple((e.step, e.train_accuracy) for e in epochs),
        validation_loss=tuple((e.step, e.validation_loss) for e in epochs),
        validation_accuracy=tuple((e.step, e.validation_accuracy) for e in epochs),
        learning_rate=tuple(sorted(rates.items())),
        best=max(e.epoch for e in epochs if e.best),
        steps_per_epoch=steps_per_epoch,
    )


def _pieces(rows: Sequence[StepRow]) -> Points:
    """Take the running means of the loss apart into the means of the pieces between them."""
    points: list[tuple[float, float]] = []
    epoch, images, total = 0, 0, 0.0  # of this epoch, as far as they are known
    for row in rows:
        if row.epoch != epoch:
            epoch, images, total = row.epoch, 0, 0.0
        if row.loss is not None and row.counted > images:
            whole = row.loss * row.counted
            points.append((row.step, (whole - total) / (row.counted - images)))
            images, total = row.counted, whole
    return tuple(points)


def draw_curves(curves: Curves, path: Path, source: str) -> None:
    """Draw the curves: loss and accuracy, in training and on the validation images, and the learning rate.

    Args:
        curves: The numbers.
        path: Of the PNG file.
        source: What the figure says below of where they come from.

    Raises:
        DigitnetError: matplotlib is missing.
        OSError: The file cannot be written.
    """
    from digitnet.explain.figures import BLUE, GREEN, ORANGE, figure_file

    epochs = len(curves.train_loss)
    unit, label = (1, "step") if epochs == 1 else (curves.steps_per_epoch, "epoch")
    with figure_file(path, title="How training went", source=source, height_in=8.0) as figure:
        axes = figure.subplot_mosaic([["loss", "accuracy"], ["rate", "rate"]], height_ratios=(5, 2))
        loss, accuracy, rate = axes["loss"], axes["accuracy"], axes["rate"]
        _line(loss, curves.pieces, unit, "-", color=BLUE, alpha=0.5, linewidth=1, label="training, within epochs")
        for ax, train, validation, shown in (
            (loss, curves.train_loss, curves.validation_loss, "{:.4f}"),
            (accuracy, curves.train_accuracy, curves.validation_accuracy, "{:.2%}"),
        ):
            _line(ax, train, unit, "o-", color=BLUE, markersize=5, label="training, mean of the epoch")
            _line(ax, validation, unit, "s-", color=ORANGE, markersize=5, label="validation, after the epoch")
            step, value = validation[curves.best - 1]
            kept = f"epoch {curves.best}, kept as the best: {shown.format(value)}"
            ax.axvline(step / unit, color="gray", linestyle=":", label=kept)
            ax.legend(fontsize=11)
        _line(rate, curves.learning_rate, unit, "-", color=GREEN)
        _scale(*axes.values(), label=label)
        rate.set_title(f"learning rate over {curves.train_loss[-1][0]:,} steps")
        rate.set_ylim(0, None)


def _scale(loss: Axes, accuracy: Axes, rate: Axes, *, label: str) -> None:
    """Say what the axes are of: whole epochs or steps, the loss on a logarithmic scale, the accuracy in per cent."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    loss.set(title="loss, on a logarithmic scale", yscale="log")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    loss.yaxis.set_minor_formatter(NullFormatter())
    accuracy.set_title("accuracy")
    accuracy.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))
    for ax in (loss, accuracy, rate):
        ax.set(xlabel=label, xlim=loss.get_xlim())
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)


def _line(ax: Axes, points: Points, unit: int, style: str, **look: Any) -> None:
    """Draw numbers over their steps, which are counted in units of so many."""
    ax.plot([step / unit for step, _ in points], [value for _, value in points], style, **look)
