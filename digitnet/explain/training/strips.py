"""What was learnt when, as strips: an epoch in each column. The numbers are from ``epochs.py``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patheffects import withStroke

from digitnet.explain.activity import most_active
from digitnet.explain.figures import AMOUNT, INK, figure_file, shape_text
from digitnet.explain.panels import SIGNS, bare, show_signed, signed_limit
from digitnet.explain.training.epochs import History, Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

MOST_COLUMNS, MOST_ROWS = 6, 8
DIGITS_SHOWN, MAPS_SHOWN = (3, 5, 8), 2
KERNELS, MAPS, REPRESENTATIONS = "kernels.png", "maps.png", "representations.png"
DIGIT_COLOURS = "tab10"


def draw_strips(history: History, folder: Path, run: str) -> list[Path]:
    """Draw the weights of the first layer, the maps of the first block and the representations, epoch by epoch.

    Args:
        history: The run.
        folder: Where the figures go.
        run: What to call it.

    Returns:
        The files; an MLP has no maps.

    Raises:
        OSError: One cannot be written.
    """
    drawn = [_draw_kernels(history, folder / KERNELS, run)]
    if history.snapshots[0].maps is not None:
        drawn.append(_draw_maps(history, folder / MAPS, run))
    return [*drawn, _draw_representations(history, folder / REPRESENTATIONS, run)]


def columns(snapshots: Sequence[Snapshot], most: int = MOST_COLUMNS) -> list[Snapshot]:
    """Choose what there is room for: before training, the first and the last epoch, and the closer the earlier."""
    if len(snapshots) <= most:
        return list(snapshots)
    chosen = [0]
    for place in np.geomspace(1, len(snapshots) - 1, most - 1):
        chosen.append(max(round(place), chosen[-1] + 1))
    return [snapshots[place] for place in chosen]


def strongest(weights: Tensor, count: int) -> list[int]:
    """Return the indices of the kernels or units, (K, height, width), with the largest weights, largest first."""
    sizes = weights.flatten(1).norm(dim=1)
    return [int(index) for index in sizes.sort(descending=True, stable=True).indices[:count]]


def _draw_kernels(history: History, path: Path, run: str) -> Path:
    shown, weights = columns(history.snapshots), history.snapshots[-1].weights
    chosen = strongest(weights, MOST_ROWS)
    most = signed_limit(*[snapshot.weights[chosen] for snapshot in shown])
    is_mlp = history.snapshots[0].maps is None
    what = "Weights of the first layer, pixel by pixel" if is_mlp else "Kernels of the first layer"
    source = (
        f"{run}, {history.first}.weight: {shape_text(weights.shape)}, the {len(chosen)} strongest of {len(weights)}; "
        f"{SIGNS}; darkest: {most:.2f}"
    )
    height = 1.2 + (1.45 if is_mlp else 1.15) * len(chosen)
    with figure_file(path, title=f"{what}, after each epoch", source=source, height_in=height) as figure:
        axes = figure.subplots(len(chosen), len(shown), squeeze=False)
        for row, index in enumerate(chosen):
            for ax, snapshot in zip(axes[row], shown, strict=True):
                show_signed(ax, snapshot.weights[index], most)
            axes[row, 0].set_ylabel(f"{'unit' if is_mlp else 'kernel'} {index}")
        _head(axes[0], shown)
    return path


def _draw_maps(history: History, path: Path, run: str) -> Path:
    shown, last = columns(history.snapshots), history.snapshots[-1].maps
    assert last is not None  # not of an MLP
    source = (
        f"{run}, base.block1: {shape_text(last.shape[1:])}, of images not trained on; for each, the {MAPS_SHOWN} most "
        f"active maps of {last.shape[1]} in the end; each row has one scale"
    )
    rows = [(digit, channel) for digit in DIGITS_SHOWN for channel in most_active(last[digit], MAPS_SHOWN)]
    title = "Feature maps of the first block, after each epoch"
    with figure_file(path, title=title, source=source, height_in=1.2 + 1.55 * len(rows)) as figure:
        axes = figure.subplots(len(rows), len(shown) + 1, squeeze=False)
        for line, (digit, channel) in zip(axes, rows, strict=True):
            line[0].imshow(history.digits.images[digit, 0].numpy(), cmap=INK)
            maps = [snapshot.maps[digit, channel].numpy() for snapshot in shown if snapshot.maps is not None]
            low, high = min(float(m.min()) for m in maps), max(float(m.max()) for m in maps)
            for ax, values in zip(line[1:], maps, strict=True):
                ax.imshow(values, cmap=AMOUNT, vmin=low, vmax=high)
            for ax in line:
                bare(ax)
            line[1].set_ylabel(f"map {channel}")
        axes[0, 0].set_title("the picture")
        _head(axes[0, 1:], shown)
    return path


def _draw_representations(history: History, path: Path, run: str) -> Path:
    shown = columns(history.snapshots)
    source = (
        f"{run}; above: {history.hidden}, of {len(history.targets):,} images not trained on, in the two directions in "
        "which they differ most (PCA)\nbelow: softmax of head.output, 10 x 10, of one image of each digit"
    )
    title = "Where the last hidden layer puts the digits, and what is answered"
    with figure_file(path, title=title, source=source, height_in=6.4) as figure:
        planes, answers = figure.subplots(2, len(shown), squeeze=False)
        for ax, snapshot in zip(planes, shown, strict=True):
            _draw_plane(ax, snapshot, history.targets)
        for ax, snapshot in zip(answers, shown, strict=True):
            drawn = ax.imshow(snapshot.probs.numpy(), cmap=AMOUNT, vmin=0, vmax=1)
            ax.set(xticks=range(0, 10, 3), yticks=range(0, 10, 3), xlabel="answer")
            ax.tick_params(labelsize=10)
        answers[0].set_ylabel("the digit")
        planes[0].set_ylabel("second direction")
        _head(planes, shown)
        named = planes[-1].collections[0].legend_elements(num=list(range(10)))
        planes[-1].legend(*named, title="digit", loc="center left", bbox_to_anchor=(1, 0.5), fontsize=10,
                          handletextpad=0, labelspacing=0.1, borderpad=0.2, frameon=False)  # fmt: skip
        scale = figure.colorbar(drawn, ax=answers, ticks=(0, 0.5, 1), shrink=0.8, pad=0.01)
        scale.set_label("probability", fontsize=11)
    return path


def _draw_plane(ax: Axes, snapshot: Snapshot, targets: Tensor) -> None:
    """Draw images as points in the colours of their digits, with each digit's name in the middle of its own."""
    points = snapshot.plane.numpy()
    ax.scatter(
        points[:, 0], points[:, 1], c=targets.numpy(), cmap=DIGIT_COLOURS, vmin=-0.5, vmax=9.5, s=7, linewidths=0
    )
    for digit in sorted(set(targets.tolist())):
        x, y = np.median(points[targets.numpy() == digit], axis=0)
        name = ax.text(x, y, str(digit), ha="center", va="center", fontsize=11)
        name.set_path_effects([withStroke(linewidth=2, foreground="white")])  # covers few of the points
    ax.set(xticks=[], yticks=[], xlabel=f"{snapshot.held:.0%} of the variance")
    ax.xaxis.label.set_fontsize(10)


def _head(axes: Iterable[Axes], shown: Sequence[Snapshot]) -> None:
    """Write above each column which epoch it is, and how well the network read then."""
    for ax, snapshot in zip(axes, shown, strict=True):
        name = f"epoch {snapshot.epoch}" if snapshot.epoch else "before training"
        ax.set_title(f"{name}\n{snapshot.validation_accuracy:.2%} right", fontsize=11)
