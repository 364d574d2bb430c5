"""Units and layers for people: each sum written out, on lines that can be checked by hand."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from digitnet.console.diagrams import (
    beside,
    column,
    matrix,
    number,
    print_beside,
    print_lines,
    print_text,
    print_wrapped,
    room,
)
from digitnet.console.tables import WIDE, terminal_width

if TYPE_CHECKING:
    from digitnet.explain.unit.units import Bend, DenseLayer, Stack, Unit, UnitExplanation


def print_units(explanation: UnitExplanation) -> None:
    """Show a unit of one input, one of several, a layer, and two layers without and with ReLU."""
    print("One linear unit: y = w x + b")
    print_lines(sum_lines(explanation.single))
    print()
    print_text("Several inputs: each has a weight of its own, and all of it is added up")
    print_lines(sum_lines(explanation.several))
    print()
    print_text("A dense layer: y = W x + b, several units with the same inputs, a row of W each")
    _print_layer(explanation.layer)
    print()
    print_text("Two layers with nothing between them: y = V (W x + b) + c")
    _print_stack(explanation.stack)
    print()
    print_text("Two layers with ReLU between them, which makes 0 of what is negative")
    if explanation.bend:
        _print_bend(explanation.bend)
    else:
        print_lines(["It changes nothing here: no weight brings a negative number to an output."])


def sum_lines(unit: Unit) -> list[str]:
    """Write a unit's sum out, a line for each product."""
    signs = " " + "+" * (len(unit.inputs) - 1)
    lines = [
        f"{sign} {number(w):>9} * {number(x):>9} = {number(product):>10}"
        for sign, w, x, product in zip(signs, unit.weights, unit.inputs, unit.products, strict=True)
    ]
    return [*lines, f"+ {number(unit.bias):>34}   (bias)", f"= {number(unit.output):>34}"]


def _print_layer(layer: DenseLayer) -> None:
    """Print what ``layer_lines`` says; in a narrow terminal, matrix and vectors below each other if they fit so."""
    weights = matrix(layer.weights)
    if terminal_width() < WIDE and max(map(len, weights)) <= room():
        columns = column(layer.inputs), ["+"], column(layer.biases), ["="], column(layer.outputs)
        print_beside(weights, *columns, gap=" ")
    else:
        print_lines(layer_lines(layer))


def layer_lines(layer: DenseLayer) -> list[str]:
    """Write a layer as a product of matrix and vector; where that is too wide, a line for each output."""
    lines = beside(matrix(layer.weights), column(layer.inputs), "+", column(layer.biases), "=", column(layer.outputs))
    if max(map(len, lines)) <= room():
        return lines
    found = zip(layer.biases, layer.outputs, strict=True)
    return [
        f"y{i} = (row {i} of {len(layer.inputs)}) x + {number(b)} = {number(y)}" for i, (b, y) in enumerate(found, 1)
    ]


def _print_stack(stack: Stack) -> None:
    _print_layer(stack.second)
    print_text("are one layer, y = (V W) x + (V b + c):")
    _print_layer(stack.product)
    rounding = stack.rounding
    sizes, error, largest = ", ".join(map(str, rounding.sizes)), number(rounding.error), number(rounding.largest_output)
    print_text(
        f"The outputs differ by {number(stack.error)}. With layers of {sizes} random numbers and",
        f"{rounding.inputs} inputs, it is {error} at most, in outputs up to {largest}:",
        "rounding, for float32 keeps about 7 digits.",
    )


def _print_bend(bend: Bend) -> None:
    names = ("one input", "halfway", "another")
    for name, x, hidden, y, linear in zip(
        names, bend.inputs, bend.hidden, bend.outputs, bend.linear_outputs, strict=True
    ):
        differs = f", where two layers alone give {_vector(linear)}" if y != linear else ""
        print_wrapped(f"{name:<10}x = {_vector(x)}", 14)
        print_wrapped(f"{'':<10}W x + b = {_vector(hidden)}, by ReLU {_vector([max(h, 0.0) for h in hidden])}", 14)
        print_wrapped(f"{'':<10}y = {_vector(y)}{differs}", 14)
    print_text(
        "Halfway between two inputs, any single layer gives the mean of what it gives",
        *textwrap.wrap(f"for the two. That would be {_vector(bend.mean)}, and it is {_vector(bend.outputs[1])}."),
        "So with ReLU, two layers can do what no single layer can.",
    )


def _vector(values: Sequence[float]) -> str:
    return "(" + ", ".join(map(number, values)) + ")"
