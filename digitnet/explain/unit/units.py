"""Linear units, a dense layer, and two of them, on numbers small enough to be checked by hand.

All of it is computed in float32, as networks do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from digitnet.errors import UsageError

Row = tuple[float, ...]
Matrix = tuple[Row, ...]
NETWORK_SIZES = (784, 128, 10)  # inputs, hidden units and outputs of a network such as digitnet trains
NETWORK_INPUTS = 100


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One linear unit, y = w1 x1 + ... + wn xn + b."""

    inputs: Row
    weights: Row
    bias: float
    products: Row
    """Each weight times its input."""
    output: float
    """The sum of the products, and the bias."""


@dataclass(frozen=True, kw_only=True)
class DenseLayer:
    """Several units with the same inputs, y = W x + b."""

    inputs: Row
    weights: Matrix
    """(units, inputs): a unit's weights in each row."""
    biases: Row
    outputs: Row


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """How far two layers and their product are apart on layers of a network's size, with random numbers."""

    sizes: tuple[int, ...]
    """Inputs, hidden units, outputs."""
    inputs: int
    """How many inputs were tried."""
    largest_output: float
    error: float
    """The largest difference of an output."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Two dense layers with no activation between them, and the one layer that does the same."""

    second: DenseLayer
    """Its inputs are the first layer's outputs."""
    product: DenseLayer
    """V W and V b + c, where V and c are the second layer's: from the first layer's inputs to the same outputs."""
    error: float
    """The largest difference of an output."""
    rounding: Rounding


@dataclass(frozen=True, kw_only=True)
class Bend:
    """Three inputs on a line, by which two layers with ReLU between them are seen to be no single layer.

    A single layer gives, halfway between two inputs, the mean of what it gives for the two.
    """

    inputs: tuple[Row, Row, Row]
    """One end, halfway, the other end."""
    hidden: tuple[Row, Row, Row]
    """What ReLU gets."""
    outputs: tuple[Row, Row, Row]
    linear_outputs: tuple[Row, Row, Row]
    """What the same layers give without ReLU."""
    mean: Row
    """Of the outputs at the ends."""


@dataclass(frozen=True, kw_only=True)
class UnitExplanation:
    """From one input to two layers, on the same numbers."""

    single: Unit
    """With the first input alone."""
    several: Unit
    """The layer's first unit, with all inputs."""
    layer: DenseLayer
    stack: Stack
    bend: Bend | None
    """None where ReLU changes nothing, as when a weight that it takes is 0."""


def explain_units(inputs: Row, first: tuple[Matrix, Row], second: tuple[Matrix, Row] | None = None) -> UnitExplanation:
    """Compute a unit of one input, a unit of several, a dense layer, and two dense layers without and with ReLU.

    Args:
        inputs: x, (n,).
        first: W, (units, n), and b, (units,).
        second: V, (outputs, units), and c, (outputs,); None is a layer of two units and of small whole numbers.

    Raises:
        UsageError: The sizes do not fit each other.
    """
    weights, biases = first
    _check_sizes(weights, biases, len(inputs), names=("--w", "--b", "--x has"))
    second = second or second_layer(len(weights))
    _check_sizes(*second, len(weights), names=("--w2", "--b2", "--w makes"))
    x, w, b, v, c = (torch.tensor(values) for values in (inputs, weights, biases, *second))
    return UnitExplanation(
        single=_unit(x[:1], w[0, :1], b[0]),
        several=_unit(x, w[0], b[0]),
        layer=_layer(x, w, b),
        stack=_stack(x, w, b, v, c),
        bend=find_bend(x, w, b, v, c),
    )


def second_layer(units: int) -> tuple[Matrix, Row]:
    """Return weights, (2, units), and biases of a layer for units of any number: their difference, and a sum."""
    return (tuple((-1.0) ** i for i in range(units)), tuple(2.0 - i % 2 for i in range(units))), (0.0, -1.0)


def _check_sizes(weights: Matrix, biases: Row, inputs: int, names: tuple[str, str, str]) -> None:
    w, b, source = names
    for number, row in enumerate(weights, start=1):
        if len(row) != inputs:
            raise UsageError(
                f"row {number} of {w} has {_counted(len(row), 'number')}, and {source} {inputs}: a weight for each"
            )
    if len(biases) != len(weights):
        numbers, rows = _counted(len(biases), "number"), _counted(len(weights), "row")
        raise UsageError(f"{b} has {numbers}, and {w} has {rows}: a bias for each")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _unit(x: Tensor, w: Tensor, b: Tensor) -> Unit:
    products = w * x
    output = (products.sum() + b).item()
    return Unit(inputs=_row(x), weights=_row(w), bias=b.item(), products=_row(products), output=output)


def _layer(x: Tensor, w: Tensor, b: Tensor) -> DenseLayer:
    return DenseLayer(inputs=_row(x), weights=tuple(map(_row, w)), biases=_row(b), outputs=_row(w @ x + b))


def _row(tensor: Tensor) -> Row:
    return tuple(tensor.tolist())


def _stack(x: Tensor, w: Tensor, b: Tensor, v: Tensor, c: Tensor) -> Stack:
    second, product = _layer(w @ x + b, v, c), _layer(x, v @ w, v @ b + c)
    error = max(abs(one - other) for one, other in zip(second.outputs, product.outputs, strict=True))
    return Stack(second=second, product=product, error=error, rounding=measure_rounding())


def measure_rounding() -> Rounding:
    """Compare two layers and their product on random numbers: NETWORK_SIZES, NETWORK_INPUTS inputs."""
    generator = torch.Generator().manual_seed(0)
    inputs, units, outputs = NETWORK_SIZES
    x = torch.rand(NETWORK_INPUTS, inputs, generator=generator)
    w, v = (
        torch.randn(size, generator=generator) / size[1] ** 0.5  # as large as a network's
        for size in ((units, inputs), (outputs, units))
    )
    one, other = x @ w.T @ v.T, x @ (v @ w).T
    largest, error = one.abs().max().item(), (one - other).abs().max().item()
    return Rounding(sizes=NETWORK_SIZES, inputs=NETWORK_INPUTS, largest_output=largest, error=error)


def find_bend(x: Tensor, w: Tensor, b: Tensor, v: Tensor, c: Tensor) -> Bend | None:
    """Find two inputs between which ReLU bends what the two layers make; None where there are none."""
    for ends in _candidates(x, w, b):
        points = torch.stack([ends[0], (ends[0] + ends[1]) / 2, ends[1]])
        hidden = points @ w.T + b
        linear, outputs = hidden @ v.T + c, hidden.relu() @ v.T + c
        mean = (outputs[0] + outputs[2]) / 2
        if (outputs[1] - mean).abs().max() > 1e-3 * outputs.abs().max():  # far more than rounding
            return Bend(
                inputs=_rows(points),
                hidden=_rows(hidden),
                outputs=_rows(outputs),
                linear_outputs=_rows(linear),
                mean=_row(mean),
            )
    return None


def walk(explanation: UnitExplanation, bend: Bend, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what two layers give on the way from one end of a bend to the other.

    Returns:
        (steps, outputs) each: two layers with nothing between them; the one layer that is their product; two layers
        with ReLU between them.
    """
    start, _, end = (torch.tensor(point) for point in bend.inputs)
    points = torch.lerp(start, end, torch.linspace(0, 1, steps)[:, None])
    first, second, product = (
        (torch.tensor(layer.weights), torch.tensor(layer.biases))
        for layer in (explanation.layer, explanation.stack.second, explanation.stack.product)
    )
    hidden = F.linear(points, *first)
    return F.linear(hidden, *second), F.linear(points, *product), F.linear(hidden.relu(), *second)


def _candidates(x: Tensor, w: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pairs of inputs to try: those with plain numbers first, then those on either side of each unit's zero."""
    yield x, -x
    for change in (-2.0, 2.0, -4.0, 4.0, -8.0, 8.0):
        for i in range(len(x)):
            moved = x.clone()
            moved[i] += change
            yield x, moved
    for weights, bias in zip(w, b, strict=True):
        if size := weights.square().sum().item():
            yield weights * ((-bias - 1) / size), weights * ((-bias + 1) / size)


def _rows(tensor: Tensor) -> tuple[Row, Row, Row]:
    first, second, third = map(_row, tensor)
    return first, second, third
