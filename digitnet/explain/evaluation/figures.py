"""What an evaluation counted, as figures: the confusion matrix, the reliability diagram, and what was read wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter

from digitnet.calibration import Reliability
from digitnet.config import NUM_CLASSES
from digitnet.drawing import probability_text
from digitnet.explain.evaluation.mistakes import Mistake
from digitnet.explain.figures import BLUE, GREEN, INK, ORANGE, figure_file
from digitnet.metrics import Metrics, wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GALLERY_COLUMNS, GALLERY_ROWS = 8, 5
MOST_CONFUSED = 12
PER_CENT = FuncFormatter(lambda value, _: f"{100 * value:.4g}%")


def confusions(metrics: Metrics) -> list[tuple[int, int, int]]:
    """List how many images of which digit were read as which other, most first."""
    pairs = [(metrics.confusion[t][a], t, a) for t in range(NUM_CLASSES) for a in range(NUM_CLASSES) if t != a]
    return sorted((pair for pair in pairs if pair[0]), key=lambda pair: (-pair[0], pair[1:]))


def draw_confusion(metrics: Metrics, path: Path, source: str) -> None:
    """Draw how many images of each digit were read as which, and which errors are the most frequent."""
    with figure_file(path, title="What is taken for what", source=source, height_in=7.5) as figure:
        matrix, bars = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_matrix(matrix, np.array(metrics.confusion))
        worst = confusions(metrics)[:MOST_CONFUSED]
        bars.barh([f"{truth} read as {answer}" for _, truth, answer in worst], [n for n, _, _ in worst], color=ORANGE)
        bars.bar_label(bars.containers[0], padding=3)
        bars.invert_yaxis()
        bars.set(title="the most frequent errors" if worst else "no errors", xlabel="images", xticks=[])
        bars.spines["bottom"].set_visible(False)


def _draw_matrix(ax: Axes, counts: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> None:
    """Draw the counts, right answers in blue, wrong ones in orange, each the darker the more of them there are."""
    right = np.eye(NUM_CLASSES, dtype=bool)
    for mask, colours in ((right, "Blues"), (~right, "Oranges")):
        shown = np.ma.masked_where(~mask | (counts == 0), counts)
        light = LogNorm(0.5, 30 * max(int(counts[mask].max()), 2))  # so light that black can be read on it
        ax.imshow(shown, cmap=colours, norm=light)
    for (truth, answer), count in np.ndenumerate(counts):
        ax.text(answer, truth, f"{count:,}" if count else "\u00b7", ha="center", va="center", fontsize=11)
    ax.set(
        xticks=range(NUM_CLASSES), yticks=range(NUM_CLASSES), xlabel="what the network read", ylabel="the true digit"
    )
    ax.tick_params(length=0)


def draw_reliability(reliability: Reliability, path: Path, source: str) -> None:
    """Draw what share of the answers is right, among those that are about equally sure, and how many these are."""
    bins = reliability.bins
    title = f"Is it as sure as it is right? {reliability.error:.2%} off on average"
    with figure_file(path, title=title, source=source, height_in=7.5) as figure:
        shares, counts = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
        sure, right = [b.confidence for b in bins], [b.accuracy for b in bins]
        low, high = zip(*(wilson_interval(round(b.accuracy * b.count), b.count) for b in bins), strict=True)
        shares.plot([0, 1], [0, 1], ":", color="gray", label="as sure as right")
        shares.vlines(sure, low, high, color=BLUE, alpha=0.5, label="95% interval")
        shares.plot(sure, right, "o", color=BLUE, label="share of right answers")
        shares.set(ylabel="share of right answers", xlim=(0, 1.02), ylim=(0, 1.02))
        shares.yaxis.set_major_formatter(PER_CENT)
        shares.legend(loc="upper left")
        counts.bar([b.low for b in bins], [b.count for b in bins], [b.high - b.low for b in bins], align="edge",
                   color=GREEN, edgecolor="white")  # fmt: skip
        for b in bins:
            counts.annotate(f"{b.count:,}", ((b.low + b.high) / 2, b.count), ha="center", va="bottom", fontsize=11)
        most = max(b.count for b in bins)
        counts.set(
            yscale="log",
            ylim=(0.5, 8 * most),
            yticks=[],
            ylabel="images\n(logarithmic)",
            xlabel="how sure the answers are: mean of each bin",
        )
        counts.xaxis.set_major_formatter(PER_CENT)


def draw_mistakes(mistakes: Sequence[Mistake], path: Path, source: str) -> None:
    """Draw what was read wrongly, the surest first, as many as there is room for; there is one at least."""
    shown = mistakes[: GALLERY_COLUMNS * GALLERY_ROWS]
    rows = -(-len(shown) // GALLERY_COLUMNS)
    title = f"The worst errors: {len(shown)} of {len(mistakes):,}, the surest first"
    with figure_file(path, title=title, source=source, height_in=1.0 + 1.95 * rows) as figure:
        axes = figure.subplots(rows, GALLERY_COLUMNS, squeeze=False).ravel()
        for ax in axes:
            ax.axis("off")
        for ax, mistake in zip(axes, shown, strict=False):
            ax.imshow(mistake.pixels, cmap=INK, vmin=0, vmax=255)
            truth, answer = probability_text(mistake.truth_probability), probability_text(mistake.confidence)
            ax.set_title(f"a {mistake.truth} ({truth})\nread as {mistake.answer} ({answer})", fontsize=10)
