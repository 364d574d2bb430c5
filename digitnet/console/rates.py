"""A learning-rate range test for people."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from digitnet.console.diagrams import bar, encoding, print_lines, room
from digitnet.console.tables import print_pairs

if TYPE_CHECKING:
    from digitnet.config import RunConfig
    from digitnet.range_test import RangeTest

BESIDE_BAR = 40  # characters; the bar of the highest loss takes the rest of the line
ROWS_PER_DECADE = 4


def print_rates(test: RangeTest, config: RunConfig, ascii_only: bool) -> None:
    """Show the loss at some of the rates as bars, what they say, and what to type next."""
    print_lines(rate_lines(test, encoding(ascii_only)), 0)
    (low, high), rule = test.good, config.train
    program = os.environ.get("DIGITNET_PROG", "digitnet")
    print()
    print_pairs(
        ("network", f"{config.kind}, {rule.loss}, {rule.optimizer}, batches of {rule.batch_size}"),
        ("too small", f"below {low:.2g}: it learns, but slowly"),
        ("good", f"{low:.2g} to {high:.2g}: the loss is all but at its lowest"),
        ("too large", f"above {high:.2g}: steps undo what was learnt"),
        ("suggested", f"{test.suggested:g}, the middle of the good ones on a logarithmic scale"),
        ("configured", f"{rule.learning_rate:g}, which training uses otherwise"),
        ("time", f"{len(test.rates)} steps in {test.elapsed_s:.1f} s"),
        ("next", f"{program} train --learning-rate {test.suggested:g}, or auto, with the same options"),
    )


def rate_lines(test: RangeTest, on: str | None) -> list[str]:
    """Draw the smoothed loss at every few steps as a bar.

    Args:
        test: The test.
        on: Encoding of the stream to draw on.
    """
    from digitnet.range_test import STEPS_PER_DECADE

    low, high = test.good
    every = STEPS_PER_DECADE // ROWS_PER_DECADE
    shown = range(0, len(test.rates), every)
    suggested = min(shown, key=lambda step: abs(test.rates[step] / test.suggested - 1))
    most = max(test.smoothed[step] for step in shown)
    width = max(room(0) - BESIDE_BAR, 0)
    lines = [f"{'rate':>9}{'loss':>9}"]
    for step in shown:
        rate, loss = test.rates[step], test.smoothed[step]
        said = "too small" if rate < low else "too large" if rate > high else "good"
        near = " <- suggested" if step == suggested else ""
        lines.append(f"{rate:9.2g}{loss:9.4f}  {bar(loss / most, width, on):<{width}}  {said}{near}")
    return [line.rstrip() for line in lines]
