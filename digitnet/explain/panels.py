"""What figures of pixels and of numbers share: a panel for a map, in greys, or in colours that say above or below 0."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from digitnet.drawing import fixed
from digitnet.explain.figures import INK, SIGNED

SIGNS = "orange: below 0, white: 0, purple: above 0"


def bare(axes: Axes) -> None:
    """Take the ticks off axes whose pixels need no numbers, and draw a thin frame: a map can be white at its edges."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color="#aaaaaa", linewidth=0.6)


def blank(axes: Axes) -> None:
    """Leave a place of a grid empty."""
    axes.axis("off")


def write_beside(axes: Axes, lines: list[str]) -> None:
    """Use axes as a label: text at the left, in the middle of the height, and nothing else."""
    blank(axes)
    axes.text(0, 0.5, "\n".join(lines), va="center", fontsize=12, transform=axes.transAxes)


def show_ink(axes: Axes, image: Tensor) -> None:
    """Show an image, (28, 28) in [0, 1], light ink on black."""
    axes.imshow(image.numpy(), cmap=INK, vmin=0, vmax=1)
    bare(axes)


def show_signed(axes: Axes, values: Tensor, limit: float) -> None:
    """Show numbers, (H, W), from -limit to limit, white at 0."""
    axes.imshow(values.numpy(), cmap=SIGNED, vmin=-limit, vmax=limit)
    bare(axes)


def show_numbers(axes: Axes, values: Tensor, decimals: int, fontsize: float) -> None:
    """Show numbers, (H, W), in colours, white at 0, with each number written into its place."""
    limit = signed_limit(values)
    show_signed(axes, values, limit)
    for (row, column), value in np.ndenumerate(values.numpy()):
        colour = "white" if abs(value) > 0.65 * limit else "black"
        shown = fixed(value, decimals)
        axes.text(column, row, shown, ha="center", va="center", color=colour, fontsize=fontsize)


def counted(count: int, noun: str) -> str:
    """Say how many there are: 1 map, 2 maps."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def signed_limit(*tensors: Tensor) -> float:
    """Return the largest absolute value, above 0, so that several panels have one scale."""
    return max((tensor.abs().max().item() for tensor in tensors if tensor.numel()), default=0.0) or 1.0
