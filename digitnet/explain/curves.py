"""The curves of a run: what training yielded, epoch by epoch and within the epochs, gathered and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.config import TrainConfig
from digitnet.engine import EpochResult, Result
from digitnet.optim import learning_rate

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
    """Of every step."""
    best: int
    """The epoch that was kept, counted from 1."""
    steps_per_epoch: int
    """Of a whole epoch, of which steps or a time budget may leave a part."""


def gather_curves(results: Sequence[Result], config: TrainConfig, train_size: int) -> Curves:
    """Gather the numbers of a run that has ended.

    Args:
        results: All that ``fit`` yielded, in order.
        config: The rule.
        train_size: Images of an epoch.
    """
    epochs = [result for result in results if isinstance(result, EpochResult)]
    steps_per_epoch, last = -(-train_size // config.batch_size), epochs[-1].step
    return Curves(
        pieces=_pieces(results),
        train_loss=tuple((e.step, e.train_loss) for e in epochs),
        train_accuracy=tuple((e.step, e.train_accuracy) for e in epochs),
        validation_loss=tuple((e.step, e.validation.loss) for e in epochs),
        validation_accuracy=tuple((e.step, e.validation.accuracy) for e in epochs),
        learning_rate=tuple((step, learning_rate(config, step, steps_per_epoch)) for step in range(1, last + 1)),
        best=max(e.epoch for e in epochs if e.best),
        steps_per_epoch=steps_per_epoch,
    )


def _pieces(results: Sequence[Result]) -> Points:
    """Take the running means of the loss apart into the means of the pieces between them."""
    points: list[tuple[float, float]] = []
    images, total = 0, 0.0  # of this epoch, as far as they are known
    for result in results:
        if isinstance(result, EpochResult):
            images, total = 0, 0.0
        elif result.loss is not None and result.counted > images:
            whole = result.loss * result.counted
            points.append((result.step, (whole - total) / (result.counted - images)))
            images, total = result.counted, whole
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

    with figure_file(path, title="How training went", source=source, height_in=8.0) as figure:
        axes = figure.subplot_mosaic([["loss", "accuracy"], ["rate", "rate"]], height_ratios=(5, 2))
        loss, accuracy, rate = axes["loss"], axes["accuracy"], axes["rate"]
        unit, label = (1, "step") if len(curves.train_loss) == 1 else (curves.steps_per_epoch, "epoch")
        plot = partial(_plot, unit=unit)
        plot(loss, curves.pieces, color=BLUE, alpha=0.45, lw=1, label="training, within the epochs")
        plot(loss, curves.train_loss, "o-", color=BLUE, label="training, mean of each epoch")
        plot(loss, curves.validation_loss, "s-", color=ORANGE, label="validation, after each epoch")
        plot(accuracy, curves.train_accuracy, "o-", color=BLUE, label="training, mean of each epoch")
        plot(accuracy, curves.validation_accuracy, "s-", color=ORANGE, label="validation, after each epoch")
        plot(rate, curves.learning_rate, color=GREEN)
        loss.set(title="loss", yscale="log")
        accuracy.set(title="accuracy")
        rate.set(title="learning rate", ylim=(0, None), xlabel=f"{label}, counted from 1")
        for ax in (loss, accuracy):
            _mark_best(ax, curves, unit)
            ax.set_xlim(*rate.get_xlim())
            ax.grid(alpha=0.3)
            ax.legend(fontsize=11)
