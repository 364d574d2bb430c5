"""The figure of the activations: each with its slope, as PyTorch computes both."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch

from digitnet.config import ActivationName
from digitnet.explain.figures import BLUE, ORANGE, figure_file
from digitnet.models import build_activation

REACH = 4.0


def draw_activations(folder: Path) -> Path:
    """Draw every activation and its slope into activations.png, and return its path."""
    path = folder / "activations.png"
    source = (
        f"Each of {2 * int(REACH) * 100 + 1} numbers through PyTorch's own activation, and its gradient by autograd"
    )
    with figure_file(path, title="What an activation makes of a number", source=source, height_in=6.5) as figure:
        grid = figure.subplots(2, 3, sharex=True, sharey=True)
        for axes, name in zip(grid.flat, get_args(ActivationName), strict=True):
            z, outputs, slopes = sample(name)
            axes.axhline(0, color="#bbbbbb", linewidth=1)
            axes.axvline(0, color="#bbbbbb", linewidth=1)
            axes.plot(z, outputs, color=BLUE, linewidth=2.5, label="what comes out")
            axes.plot(z, slopes, color=ORANGE, linestyle="--", label="its slope")
            axes.set(title=name, ylim=(-1.5, REACH))
        grid[0, 0].legend(frameon=False, loc="upper left")
        for axes in grid[1]:
            axes.set_xlabel("what goes in")
    return path


def sample(name: ActivationName) -> tuple[list[float], list[float], list[float]]:
    """Compute an activation and its slope at numbers from -REACH to REACH, a hundred to each whole number."""
    z = torch.linspace(-REACH, REACH, 2 * int(REACH) * 100 + 1, requires_grad=True)
    outputs = build_activation(name)(z)
    (slopes,) = torch.autograd.grad(outputs.sum(), z)
    return z.tolist(), outputs.tolist(), slopes.tolist()
