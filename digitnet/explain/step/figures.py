"""The figures of a step of training: what the batch becomes and its gradients, the update, and every rule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from digitnet.explain.figures import BLUE, INK, ORANGE, figure_file, shape_text
from digitnet.explain.panels import show_numbers
from digitnet.explain.step.rules import losses_by_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from digitnet.explain.step.calculus import Array
    from digitnet.explain.step.rules import Update
    from digitnet.explain.step.steps import StepExplanation
    from digitnet.explain.step.toy import Arrays


def draw_step(step: StepExplanation, folder: Path) -> list[Path]:
    """Draw forward.png, update.png, rules.png and rates.png, and return their paths."""
    shapes = ", ".join(f"{name} {shape_text(value.shape)}" for name, value in step.parameters.items())
    source = (
        f"Two dense layers, {shapes}, in float64, {step.activation} between them; three images of {step.batch.dataset}"
    )
    paths = [folder / f"{name}.png" for name in ("forward", "update", "rules", "rates")]
    title = f"Forward to the loss, {step.forward.loss:.4f} ({step.loss_name}), and backward from it"
    with figure_file(paths[0], title=title, source=source, height_in=6) as figure:
        _draw_passes(figure, step)
    done, before = step.update, step.forward.loss
    rule = f"{done.optimizer}, learning rate {done.learning_rate:g}"
    title = f"The update ({rule}): the loss was {before:.4f}, and is {done.loss:.4f}"
    with figure_file(paths[1], title=title, source=source, height_in=6) as figure:
        _draw_update(figure, step)
    title = f"The same step by every rule: what it adds to each parameter. The loss was {before:.4f}"
    with figure_file(paths[2], title=title, source=source, height_in=11) as figure:
        _draw_rules(figure, step.rules)
    title = "One step by learning_rate * gradient: the loss after it, by the learning rate"
    with figure_file(paths[3], title=title, source=source, height_in=5) as figure:
        _draw_rates(figure.subplots(), step)
    return paths


def _draw_passes(figure: Figure, step: StepExplanation) -> None:
    done, back = step.forward, step.gradients
    upper = (
        ("X, the batch", step.batch.inputs),
        ("Z = X $W1^T$ + b1", done.sums),
        (f"H = {step.activation}(Z)", done.hidden),
        ("S = H $W2^T$ + b2", done.logits),
        ("P, of S", done.probs),
    )
    lower = (
        (f"dZ = dH * {step.activation}'(Z)", back.sums),
        ("dH = dS W2", back.hidden),
        ("dS", back.logits),
        ("dP", back.probs),
    )
    grid = figure.add_gridspec(2, 6, width_ratios=(2, 4, 3, 3, 3, 3))
    images = figure.add_subplot(grid[0, 0])
    images.imshow(np.vstack(step.batch.images), cmap=INK)
    images.set(title="the images", yticks=[10, 30, 50], yticklabels=step.batch.digits, xticks=[])
    for place, (title, values) in enumerate(upper, start=1):
        _draw_matrix(figure.add_subplot(grid[0, place]), values, f"{title}\n{shape_text(values.shape)}")
    for place, (title, values) in enumerate(lower, start=2):
        _draw_matrix(figure.add_subplot(grid[1, place]), values, title)
    words = figure.add_subplot(grid[1, :2])
    words.axis("off")
    words.text(
        0.5,
        0.5,
        "Below each: the derivative of the loss\nby each of its numbers. A row is an image.\n"
        "Purple is above 0, orange below.",
        ha="center",
        va="center",
    )


def _draw_update(figure: Figure, step: StepExplanation) -> None:
    columns: tuple[tuple[str, Arrays], ...] = (
        ("before", step.parameters),
        ("gradient", step.gradients.parameters),
        ("change", step.update.changes),
        ("after", step.update.parameters),
    )
    for row, layer in enumerate(("1", "2")):
        for place, (title, arrays) in enumerate(columns):
            axes = figure.add_subplot(2, 4, row * 4 + place + 1)
            values = np.column_stack([arrays[f"W{layer}"], arrays[f"b{layer}"]])
            _draw_matrix(axes, values, f"W{layer} and b{layer}: {title}")
            axes.axvline(values.shape[1] - 1.5, color="black", linewidth=2)
            axes.set_xticks([values.shape[1] - 1], ["b"])


def _draw_matrix(axes: Axes, values: Array, title: str) -> None:
    """Draw a matrix as a map of its numbers, with each number in it."""
    most = float(np.abs(values).max()) or 1.0
    decimals = 3 if most >= 0.01 else 4 if most >= 0.001 else 5
    show_numbers(axes, torch.from_numpy(values), decimals, fontsize=10)
    axes.set_title(title, fontsize=12)


def _draw_rules(figure: Figure, rules: tuple[Update, ...]) -> None:
    grid = figure.subplots(len(rules), 1, sharex=True)
    names = [name for name, values in rules[0].changes.items() for _ in range(values.size)]
    for axes, rule in zip(grid, rules, strict=True):
        changes = np.concatenate([values.ravel() for values in rule.changes.values()])
        axes.bar(range(len(changes)), changes, color=BLUE)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_title(
            f"{rule.optimizer}, learning rate {rule.learning_rate:g}: loss after {rule.loss:.4f}", loc="left"
        )
    edges = [i for i in range(1, len(names)) if names[i] != names[i - 1]]
    for axes in grid:
        for edge in edges:
            axes.axvline(edge - 0.5, color="#bbbbbb", linestyle=":")
    starts, ends = [0, *edges], [*edges, len(names)]
    middles = [(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)]
    grid[-1].set_xticks(middles, [names[start] for start in starts])


def _draw_rates(axes: Axes, step: StepExplanation) -> None:
    rates = np.logspace(-3, 3, 121).tolist()
    found = step.gradients.parameters
    losses = losses_by_rate(rates, step.parameters, found, step.batch, step.activation, step.loss_name)
    best = int(np.argmin(losses))
    axes.axhline(step.forward.loss, color="#777777", linestyle="--", label=f"before the step: {step.forward.loss:.4f}")
    axes.plot(rates, losses, color=BLUE, linewidth=2.5, label="after it")
    label = f"least, {losses[best]:.4f}, at {rates[best]:.3g}"
    axes.scatter(rates[best], losses[best], color=ORANGE, s=80, zorder=3, label=label)
    axes.set(xscale="log", xlabel="learning rate", ylabel=f"loss ({step.loss_name})")
    gain = step.forward.loss - losses[best]
    axes.set_ylim(losses[best] - gain, step.forward.loss + 4 * gain)  # what diverges leaves the picture
    axes.legend(frameon=False, loc="upper left")
