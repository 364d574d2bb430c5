"""Linear units and dense layers on numbers small enough to be checked by hand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from digitnet.errors import UsageError

Row = tuple[float, ...]
Matrix = tuple[Row, ...]


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
class UnitExplanation:
    """From one input to a layer, on the same numbers."""

    single: Unit
    """With the first input alone."""
    several: Unit
    """The layer's first unit, with all inputs."""
    layer: DenseLayer


def explain_units(inputs: Row, weights: Matrix, biases: Row) -> UnitExplanation:
    """Compute a unit of one input, a unit of several and a dense layer, in float32 as networks do.

    Args:
        inputs: x, (n,).
        weights: W, (units, n).
        biases: b, (units,).

    Raises:
        UsageError: The sizes do not fit each other.
    """
    check_sizes(inputs, weights, biases, names=("--x", "--w", "--b"))
    x, w, b = (torch.tensor(values) for values in (inputs, weights, biases))
    return UnitExplanation(
        single=_unit(x[:1], w[0, :1], b[0]),
        several=_unit(x, w[0], b[0]),
        layer=DenseLayer(inputs=inputs, weights=weights, biases=biases, outputs=row(w @ x + b)),
    )


def check_sizes(inputs: Row, weights: Matrix, biases: Row, *, names: tuple[str, str, str]) -> None:
    """Check that each row of weights has a weight for each input, and that there is a bias for each row.

    Raises:
        UsageError: They do not fit; the message calls them by their names.
    """
    x, w, b = names
    for unit, weights_of_unit in enumerate(weights, start=1):
        if len(weights_of_unit) != len(inputs):
            raise UsageError(f"row {unit} of {w} has {len(weights_of_unit)} weights, and {x} has {len(inputs)} numbers")
    if len(biases) != len(weights):
        raise UsageError(f"{b} has {len(biases)} numbers, and {w} has {len(weights)} rows: one for each is needed")


def _unit(x: Tensor, w: Tensor, b: Tensor) -> Unit:
    products = w * x
    return Unit(
        inputs=row(x), weights=row(w), bias=b.item(), products=row(products), output=(products.sum() + b).item()
    )


def row(tensor: Tensor) -> Row:
    """Turn a tensor, (n,), into plain numbers."""
    return tuple(tensor.tolist())
