"""The figures of units and layers: a unit and its line, a layer, and two layers, which ReLU bends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.explain.figures import BLACK, BLUE, GREEN, ORANGE, RED, figure_file, shape_text
from digitnet.explain.unit.units import DenseLayer, walk

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from digitnet.explain.unit.units import Bend, Unit, UnitExplanation

NODES = 6  # of a layer that are drawn
EDGES = 12  # between two layers that carry their numbers; of more, none could be read
ROW_IN = 1.15  # from the middle of a circle to the next: a circle, and the bias above it
FRAME_IN = 1.4  # above and below a network: titles, and where its numbers are from
LINE_IN = 4.0  # of axes with a line
STEPS = 401  # on the way from one input to another
Points = list[tuple[float, float]]


def draw_units(explanation: UnitExplanation, folder: Path) -> tuple[Path, Path, Path]:
    """Draw the first unit into neuron.png, its layer into layer.png, and both layers into stack.png.

    Returns:
        Their paths.
    """
    return (
        _draw_neuron(explanation.several, explanation.single, folder / "neuron.png"),
        _draw_layer(explanation.layer, folder / "layer.png"),
        _draw_stack(explanation, folder / "stack.png"),
    )


def _draw_neuron(unit: Unit, single: Unit, path: Path) -> Path:
    layer = DenseLayer(inputs=unit.inputs, weights=(unit.weights,), biases=(unit.bias,), outputs=(unit.output,))
    height_in = FRAME_IN + max(_height_in(layer), LINE_IN - 1)
    with figure_file(path, title="One linear unit", source=_source(W=layer), height_in=height_in) as figure:
        network, line = figure.subplots(1, 2, width_ratios=(5, 4))
        _draw_network(network, (layer,), "xy")
        _draw_line(line, single)
    return path


def _draw_layer(layer: DenseLayer, path: Path) -> Path:
    title = "A dense layer: several units with the same inputs"
    with figure_file(path, title=title, source=_source(W=layer), height_in=FRAME_IN + _height_in(layer)) as figure:
        _draw_network(figure.subplots(), (layer,), "xy")
    return path


def _draw_stack(explanation: UnitExplanation, path: Path) -> Path:
    layers = explanation.layer, explanation.stack.second
    source, network_in = _source(W=layers[0], V=layers[1]), _height_in(*layers)
    bend = explanation.bend
    height_in = FRAME_IN + network_in + (LINE_IN if bend else 0)
    with figure_file(path, title="Two layers", source=source, height_in=height_in) as figure:
        grid = figure.add_gridspec(1 + bool(bend), 1, height_ratios=(network_in, LINE_IN)[: 1 + bool(bend)])
        _draw_network(figure.add_subplot(grid[0]), layers, "xhy")
        if bend:
            _draw_bend(figure.add_subplot(grid[1]), explanation, bend)
    return path


def _source(**layers: DenseLayer) -> str:
    shapes = (f"{name} is {shape_text((len(x.weights), len(x.inputs)))}" for name, x in layers.items())
    return f"From the numbers given, in float32: {', '.join(shapes)}"


def _height_in(*layers: DenseLayer) -> float:
    return ROW_IN * max(min(NODES, len(values)) for x in layers for values in (x.inputs, x.outputs))


def _draw_network(axes: Axes, layers: Sequence[DenseLayer], names: str) -> None:
    """Draw layers from left to right, whose numbers have the names: one of the first inputs, and one of each layer."""
    axes.set_title("Each line is a weight, each circle a sum: weights x inputs + bias")
    axes.axis("off")
    values = [layers[0].inputs, *(layer.outputs for layer in layers)]
    columns = [_column(x, len(numbers)) for x, numbers in enumerate(values)]
    half = max(map(len, columns)) / 2
    axes.set(xlim=(-0.15, len(layers) + 0.15), ylim=(-half, half + 0.1))
    for layer, (left, right) in zip(layers, pairwise(columns), strict=True):
        _draw_edges(axes, left, right, layer)
    for column, name, numbers, biases in zip(
        columns, names, values, [None, *(layer.biases for layer in layers)], strict=True
    ):
        _draw_nodes(axes, column, name, numbers, biases)


def _column(x: float, count: int) -> Points:
    shown = min(count, NODES)
    return [(x, (shown - 1) / 2 - i) for i in range(shown)]


def _draw_edges(axes: Axes, left: Points, right: Points, layer: DenseLayer) -> None:
    numbered = len(left) * len(right) <= EDGES
    for row, end in zip(layer.weights, right, strict=False):
        for weight, start in zip(row, left, strict=False):
            axes.plot(*zip(start, end, strict=True), color=BLUE if weight >= 0 else RED, linewidth=1.5, zorder=1)
            if numbered:
                at = 0.22  # of the way: where lines from one circle are apart already, and few of others cross
                x, y = (s + at * (e - s) for s, e in zip(start, end, strict=True))
                axes.text(x, y, f"{weight:.4g}", ha="center", va="center", bbox={"fc": "white", "ec": "none", "pad": 1})


def _draw_nodes(
    axes: Axes, points: Points, name: str, values: tuple[float, ...], biases: tuple[float, ...] | None
) -> None:
    for i, (x, y) in enumerate(points):
        axes.scatter(x, y, s=2600, facecolor="white", edgecolor=BLACK, zorder=2)
        axes.text(x, y, f"{_symbol(name, i, len(values))}\n{values[i]:.4g}", ha="center", va="center", zorder=3)
        if biases:
            _write_small(axes, f"bias {biases[i]:.4g}", (x, y), above=35)
    if left_out := len(values) - len(points):
        _write_small(axes, f"and {left_out} more", points[-1], above=-35)


def _write_small(axes: Axes, text: str, point: tuple[float, float], *, above: float) -> None:
    """Write a text some points above a point."""
    axes.annotate(
        text, point, (0, above), textcoords="offset points", ha="center", va="center", fontsize=11, color="#444444"
    )


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
        title="They are straight, until ReLU bends them",
        xlabel=f"from x = {_vector(bend.inputs[0])} to {_vector(bend.inputs[2])}",
    )
    axes.set_ylabel(_symbol("y", chosen, len(bend.mean)))
    axes.set_xticks([0, 0.5, 1], ["one input", "halfway", "another"])
    axes.legend(frameon=False)


def _symbol(name: str, i: int, count: int) -> str:
    """Name one of some numbers: y where it is the only one, else y1, y2 and so on."""
    return f"${name}_{{{i + 1}}}$" if count > 1 else f"${name}$"


def _vector(values: tuple[float, ...]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:NODES])
    return f"({shown}{', ...' if len(values) > NODES else ''})"
