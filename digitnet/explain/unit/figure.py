"""The figure of units and layers: the network with its numbers, a unit's line, and what ReLU does to two layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.explain.figures import BLACK, BLUE, GREEN, ORANGE, RED, figure_file, shape_text
from digitnet.explain.unit.units import walk

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from digitnet.explain.unit.units import Bend, DenseLayer, Stack, Unit, UnitExplanation

NODES = 6  # of a layer that are drawn
EDGES = 12  # between two layers that carry their numbers; of more, none could be read
STEPS = 401  # on the way from one input to another
Points = list[tuple[float, float]]


def draw_units(explanation: UnitExplanation, folder: Path) -> Path:
    """Draw the network, its first unit and its two layers into unit.png, and return its path."""
    path = folder / "unit.png"
    layer, second = explanation.layer, explanation.stack.second
    shapes = [shape_text((len(x.weights), len(x.inputs))) for x in (layer, second)]
    source = f"From the numbers given, in float32: W is {shapes[0]}, V is {shapes[1]}"
    with figure_file(path, title="From one linear unit to two layers", source=source, height_in=9) as figure:
        grid = figure.add_gridspec(2, 2, height_ratios=(5, 4))
        _draw_network(figure.add_subplot(grid[0, :]), layer, explanation.stack)
        _draw_line(figure.add_subplot(grid[1, 0]), explanation.single)
        if explanation.bend:
            _draw_bend(figure.add_subplot(grid[1, 1]), explanation, explanation.bend)
    return path


def _draw_network(axes: Axes, layer: DenseLayer, stack: Stack) -> None:
    axes.set_title("Each line is a weight, and each circle the sum of what comes in and its bias")
    axes.axis("off")
    axes.set(xlim=(-0.6, 6.6), ylim=(-0.55, 0.55))
    columns = [
        _column(x, len(values)) for x, values in ((0, layer.inputs), (3, layer.outputs), (6, stack.second.outputs))
    ]
    _draw_edges(axes, columns[0], columns[1], layer)
    _draw_edges(axes, columns[1], columns[2], stack.second)
    _draw_nodes(axes, columns[0], "x", layer.inputs, None)
    _draw_nodes(axes, columns[1], "h", layer.outputs, layer.biases)
    _draw_nodes(axes, columns[2], "y", stack.second.outputs, stack.second.biases)


def _column(x: float, count: int) -> Points:
    shown = min(count, NODES)
    return [(x, 0.8 * ((shown - 1) / 2 - i) / max(shown, 2)) for i in range(shown)]


def _draw_edges(axes: Axes, left: Points, right: Points, layer: DenseLayer) -> None:
    numbered = len(left) * len(right) <= EDGES
    for row, end in zip(layer.weights, right, strict=False):
        for weight, start in zip(row, left, strict=False):
            axes.plot(*zip(start, end, strict=True), color=BLUE if weight >= 0 else RED, linewidth=1.5, zorder=1)
            if numbered:
                at = 0.3  # of the way: where the lines to different units are apart
                x, y = (s + at * (e - s) for s, e in zip(start, end, strict=True))
                axes.text(x, y, f"{weight:.4g}", ha="center", va="center", bbox={"fc": "white", "ec": "none", "pad": 1})


def _draw_nodes(
    axes: Axes, points: Points, name: str, values: tuple[float, ...], biases: tuple[float, ...] | None
) -> None:
    for i, (x, y) in enumerate(points):
        axes.scatter(x, y, s=2600, facecolor="white", edgecolor=BLACK, zorder=2)
        axes.text(x, y, f"${name}_{{{i + 1}}}$\n{values[i]:.4g}", ha="center", va="center", zorder=3)
        if biases:
            axes.text(x, y + 0.13, f"bias {biases[i]:.4g}", ha="center", va="center", fontsize=11, color="#444444")
    if left_out := len(values) - len(points):
        axes.text(points[0][0], -0.54, f"and {left_out} more", ha="center", fontsize=11, color="#444444")


def _draw_line(axes: Axes, unit: Unit) -> None:
    (x,), (w,), b = unit.inputs, unit.weights, unit.bias
    reach = max(2 * abs(x), 1.0)
    axes.set(title=f"A unit of one input is a line: y = {w:.4g} x + {b:.4g}", xlabel="x", ylabel="y")
    axes.axhline(0, color="#bbbbbb", linewidth=1)
    axes.axvline(0, color="#bbbbbb", linewidth=1)
    axes.plot([-reach, reach], [-w * reach + b, w * reach + b], color=BLUE)
    axes.scatter([0, x], [b, unit.output], color=[GREEN, ORANGE], s=60, zorder=3)
    axes.annotate(f"bias: y = {b:.4g}", (0, b), (8, -16), textcoords="offset points")
    axes.annotate(
        f"x = {x:.4g}: y = {unit.output:.4g}", (x, unit.output), (-8, 8), textcoords="offset points", ha="right"
    )


def _draw_bend(axes: Axes, explanation: UnitExplanation, bend: Bend) -> None:
    gaps = [abs(y - mean) for y, mean in zip(bend.outputs[1], bend.mean, strict=True)]
    chosen = gaps.index(max(gaps))
    linear, product, rectified = (values[:, chosen].tolist() for values in walk(explanation, bend, STEPS))
    way = [i / (STEPS - 1) for i in range(STEPS)]
    axes.plot(way, linear, color=BLUE, linewidth=5, alpha=0.4, label="nothing between them")
    axes.plot(way, product, color=BLACK, linestyle=":", label="one layer, their product")
    axes.plot(way, rectified, color=ORANGE, linewidth=2.5, label="ReLU between them")
    axes.set(
        title="Two layers: straight, until ReLU bends them",
        xlabel=f"from x = {_vector(bend.inputs[0])} to {_vector(bend.inputs[2])}",
    )
    axes.set_ylabel(f"$y_{{{chosen + 1}}}$")
    axes.set_xticks([0, 0.5, 1], ["one input", "halfway", "another"])
    axes.legend(frameon=False)


def _vector(values: tuple[float, ...]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:NODES])
    return f"({shown}{', ...' if len(values) > NODES else ''})"
