"""Figures of a picture, as it goes in, and as each part of a network represents it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.gridspec import SubplotSpec

from digitnet.drawing import decimals_apart, describe, fixed, probability_text
from digitnet.errors import printable
from digitnet.explain.activity import most_active
from digitnet.explain.figures import AMOUNT, BLUE, INK, ORANGE, figure_file, shape_text, without_math
from digitnet.explain.panels import bare, counted, write_beside
from digitnet.modes import grey, reduce_to

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

    from digitnet.explain.image.explanation import Explanation
    from digitnet.explain.trace import Representation

READ_SIDE = 400  # pixels; a panel has no more
MOST_PARTS = 8  # blocks and layers that are shown
COLUMNS = 10  # maps of each
UNITS_IN_ROW = 64


def draw_picture(path: Path, explanation: Explanation, read: Image.Image, name: str) -> None:
    """Draw a picture as it was read, as MNIST would have made it, as a network gets it, and in numbers."""
    e = explanation
    source = (
        f"the network's input: 1 x 28 x 28; normalised by the network's own mean {e.mean:.4f} and "
        f"standard deviation {e.std:.4f}"
    )
    with figure_file(path, title="What the network sees", source=source, height_in=16.9) as figure:
        upper, lower = figure.subfigures(2, 1, height_ratios=[1, 2.75], squeeze=False)[:, 0]
        axes = upper.subplots(1, 3)
        axes[0].imshow(_as_read(read), cmap=INK, vmin=0, vmax=1)
        axes[0].set_title(without_math(f"as read: {printable(Path(name).name)[:28]}"))
        axes[1].imshow(e.pixels.numpy(), cmap=INK, vmin=0, vmax=255)
        axes[1].set_title("made like MNIST: 28 x 28, 0 to 255")
        shown = axes[2].imshow((e.pixels.numpy() / 255 - e.mean) / e.std, cmap=INK)
        axes[2].set_title("normalised: (pixel / 255 - mean) / std")
        upper.colorbar(shown, ax=axes[2], shrink=0.8)
        for one in axes:
            bare(one)
        assert e.prediction.prepared is not None
        if steps := e.prediction.prepared.steps:
            axes[0].set_xlabel("\n".join(_wrapped(describe(steps))), fontsize=11)
        _write_numbers(lower.subplots(), e.pixels.numpy())


def _as_read(picture: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Bring a picture of any mode to what can be shown: (H, W, 3) in colour, or (H, W) in grey, in [0, 1]."""
    small = reduce_to(picture, READ_SIDE)
    return np.asarray(small, np.float32) / np.float32(255) if small.mode == "RGB" else grey(small)


def _wrapped(text: str) -> list[str]:
    """Break a list of what was done after every second comma."""
    parts = text.split(", ")
    return [", ".join(parts[i : i + 2]) for i in range(0, len(parts), 2)]


def _write_numbers(axes: Axes, pixels: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> None:
    """Write the number of each pixel into its place."""
    axes.imshow(pixels, cmap=INK, vmin=0, vmax=255)
    for (row, column), value in np.ndenumerate(pixels):
        colour = "black" if value > 127 else "#dddddd" if value else "#666666"
        axes.text(column, row, str(value), ha="center", va="center", fontsize=9, color=colour)
    axes.set_title("the same 28 x 28 in numbers: this is all that the network gets")
    axes.set_xticks(range(28))
    axes.set_yticks(range(28))
    axes.tick_params(labelsize=9, length=0)


def draw_representations(path: Path, explanation: Explanation) -> None:
    """Draw what each block and layer makes of a picture, down to the ten probabilities."""
    parts = _chosen_parts(explanation.representation[:-1])
    left_out = len(explanation.representation) - 1 - len(parts)
    title = f"From {parts[0].features.shape[1]} pixels to 10 probabilities, part by part"
    source = counted(len(parts), "part") + (f"; {left_out} between them are left out" if left_out else "")
    source += "; maps: the most active ones, each row with its own scale, from dark (low) to bright (high)"
    heights = [1.0 if len(part.shape) == 3 else 0.75 for part in parts]
    with figure_file(path, title=title, source=source, height_in=1.6 * sum(heights) + 4.2) as figure:
        grid = figure.add_gridspec(len(parts) + 1, 1, height_ratios=[*heights, 1.6])
        for row, part in enumerate(parts):
            _draw_part(figure, grid[row], part)
        _draw_answer(figure, grid[len(parts)], explanation)


def _chosen_parts(parts: tuple[Representation, ...]) -> list[Representation]:
    """Choose the pixels, the first layer, the last of maps and the last of all, and others spread between them."""
    last_maps = max(i for i, part in enumerate(parts) if len(part.shape) == 3)
    kept = {0, min(1, len(parts) - 1), last_maps, len(parts) - 1}
    others = [i for i in range(len(parts)) if i not in kept]
    count = min(MOST_PARTS - len(kept), len(others))
    spread = {others[(2 * i + 1) * len(others) // (2 * count)] for i in range(count)}
    return [parts[i] for i in sorted(kept | spread)]


def _draw_part(figure: Figure, place: SubplotSpec, part: Representation) -> None:
    grid = place.subgridspec(1, COLUMNS + 2)
    shape = part.pooled or part.shape
    values = part.features[0]
    said = [part.name, shape_text(part.shape), f"{values.min().item():.3g} to {values.max().item():.3g}"]
    if len(shape) == 1:
        said[1] += " units, row by row"
        axes = figure.add_subplot(grid[0, 2:])
        axes.imshow(_in_rows(part.features[0].numpy()), cmap=AMOUNT, aspect="auto")
        bare(axes)
    else:
        maps = part.features[0].view(shape)
        active = most_active(maps, COLUMNS)
        low, high = maps[active].min().item(), maps[active].max().item()
        for column, index in enumerate(active):
            axes = figure.add_subplot(grid[0, column + 2])
            axes.imshow(maps[index].numpy(), cmap=INK if part.name == "pixels" else AMOUNT, vmin=low, vmax=high)
            bare(axes)
            if part.name != "pixels":
                axes.set_xlabel(f"map {index}", fontsize=10)
        if hidden := shape[0] - len(active):
            said.append(f"{counted(hidden, 'map')} left out")
        if part.pooled:
            said.append(f"averaged to {shape_text(part.pooled[1:])}")
    write_beside(figure.add_subplot(grid[0, :2]), said)


def _in_rows(
    values: np.ndarray[tuple[int], np.dtype[np.float32]],
) -> np.ma.MaskedArray[tuple[int, int], np.dtype[np.float32]]:
    """Put values (F,) into rows of ``UNITS_IN_ROW``, or fewer; places that are left over are masked."""
    width = min(len(values), UNITS_IN_ROW)
    height = -(-len(values) // width)
    padded = np.full(height * width, np.nan, np.float32)
    padded[: len(values)] = values
    return np.ma.masked_invalid(padded.reshape(height, width))


def _draw_answer(figure: Figure, place: SubplotSpec, explanation: Explanation) -> None:
    """Draw the logits and the probabilities of the ten digits."""
    grid = place.subgridspec(1, 2)
    logits = explanation.representation[-1].features[0].tolist()
    probs = explanation.prediction.probs
    decimals = decimals_apart(logits, 1)
    softened = f"probabilities in %: softmax(logits / {explanation.temperature:.3f})"
    shown = (
        (logits, [fixed(logit, decimals) for logit in logits], "head.output: 10 logits"),
        ([100 * prob for prob in probs], [probability_text(prob).rstrip("%") for prob in probs], softened),
    )
    colours = [ORANGE if digit == explanation.prediction.digit else BLUE for digit in range(10)]
    for column, (values, labels, said) in enumerate(shown):
        axes = figure.add_subplot(grid[0, column])
        axes.bar_label(
            axes.bar(range(10), values, color=colours), labels, fontsize=10 if decimals < 4 else 8, padding=2
        )
        axes.set_title(said)
        axes.set_xticks(range(10))
        axes.margins(y=0.15)
        axes.axhline(0, color="black", linewidth=0.8)
