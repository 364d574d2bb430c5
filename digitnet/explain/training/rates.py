"""A learning-rate range test as a figure. The test itself is in ``range_test.py``."""

from __future__ import annotations

from pathlib import Path

from digitnet.explain.figures import BLUE, GREEN, ORANGE, RED, figure_file
from digitnet.range_test import RangeTest

HALF_NAME = 0.06  # of the width of the axes: no name runs out of it


def draw_rates(test: RangeTest, configured: float, path: Path, source: str) -> None:
    """Draw the loss against the rate, which rates are too small, good or too large, and which is suggested.

    Args:
        test: The test.
        configured: The rate that training would use otherwise.
        path: Of the PNG file.
        source: What the figure says below of where its numbers come from.

    Raises:
        OSError: It cannot be written.
    """
    (lowest, highest), rates = test.good, test.rates
    top = 1.15 * max(test.smoothed[0], min(test.losses))
    with figure_file(path, title="Which learning rate?", source=source, height_in=6.5) as figure:
        ax = figure.subplots()
        margin = (rates[-1] / rates[0]) ** HALF_NAME
        for low, high, colour, name in (
            (rates[0], lowest, BLUE, "too small:\nlearns slowly"),
            (lowest, highest, GREEN, "good"),
            (highest, rates[-1], RED, "too large:\nundoes what\nwas learnt"),
        ):
            ax.axvspan(low, high, color=colour, alpha=0.1, linewidth=0)
            middle = min(max((low * high) ** 0.5, rates[0] * margin), rates[-1] / margin)
            ax.text(middle, 0.97 * top, name, ha="center", va="top", color=colour)
        ax.plot(rates, test.losses, ".", color="gray", markersize=5, label="loss of the batch after the step")
        ax.plot(rates, test.smoothed, "-", color=BLUE, linewidth=2.5, label="smoothed")
        ax.axvline(test.suggested, ymax=0.9, color=GREEN, linewidth=2, label=f"suggested: {test.suggested:g}")
        ax.axvline(configured, color=ORANGE, linestyle="--", label=f"configured: {configured:g}")
        ax.set(xscale="log", xlim=(rates[0], rates[-1]), ylim=(0, top), ylabel="training loss")
        ax.set_xlabel("learning rate, which rises with each step (logarithmic)")
        ax.legend(loc="lower left")
        ax.grid(alpha=0.3)
