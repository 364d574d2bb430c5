"""All figures of one picture and one network, in files of one folder, in the order in which to look at them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.explain.activity import around
from digitnet.explain.image.animation import save_animation, save_step
from digitnet.explain.image.answer_figures import draw_changes, draw_neighbours, draw_probes, draw_why
from digitnet.explain.image.layer_figures import draw_block, draw_kernels, draw_units, draw_windows
from digitnet.explain.image.picture_figures import draw_picture, draw_representations

if TYPE_CHECKING:
    from PIL import Image

    from digitnet.explain.image.explanation import Explanation


def draw_all(folder: Path, explanation: Explanation, read: Image.Image, name: str) -> tuple[Path, ...]:
    """Draw everything that can be drawn of a network: an MLP has units in the place of kernels.

    Args:
        folder: Where the files go; it is made where it is missing.
        explanation: What there is to draw.
        read: The picture as it was read.
        name: The picture's path.

    Returns:
        The files that were written.

    Raises:
        OSError: A file cannot be written.
    """
    steps: list[tuple[str, Callable[[Path], object]]] = [
        ("picture.png", lambda path: draw_picture(path, explanation, read, name)),
        *_layer_steps(explanation),
        ("representations.png", lambda path: draw_representations(path, explanation)),
        ("probe.png", lambda path: draw_probes(path, explanation)),
        ("why.png", lambda path: draw_why(path, explanation)),
        ("neighbours.png", lambda path: draw_neighbours(path, explanation)),
        ("smallest-change.png", lambda path: draw_changes(path, explanation)),
    ]
    written = []
    for number, (stem, draw) in enumerate(steps, start=1):
        written.append(folder / f"{number:02}-{stem}")
        draw(written[-1])
    return tuple(written)


def _layer_steps(explanation: Explanation) -> list[tuple[str, Callable[[Path], object]]]:
    kernels = explanation.kernels
    if kernels is None:
        return [("units.png", lambda path: draw_units(path, explanation))]
    conv = kernels.convolution
    block = around(explanation.stages, conv.name)
    return [
        ("kernels.png", lambda path: draw_kernels(path, kernels)),
        ("convolution.gif", lambda path: save_animation(path, conv, kernels.chosen)),
        ("one-step.png", lambda path: save_step(path, conv, kernels.chosen)),
        ("padding-and-stride.png", lambda path: draw_windows(path, kernels)),
        ("detect-and-condense.png", lambda path: draw_block(path, block)),
    ]
