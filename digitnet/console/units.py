"""Units and layers for people: each sum written out, on lines that can be checked by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from digitnet.console.diagrams import beside, column, matrix, number, print_lines

if TYPE_CHECKING:
    from digitnet.explain.units import DenseLayer, Unit, UnitExplanation


def print_units(explanation: UnitExplanation) -> None:
    """Show a unit of one input, one of several, and a layer."""
    print("One linear unit: y = w x + b")
    print_lines(sum_lines(explanation.single))
    print("\nSeveral inputs: each has a weight of its own, and all of it is added up")
    print_lines(sum_lines(explanation.several))
    print("\nA dense layer: y = W x + b, several units with the same inputs, a row of W each")
    print_lines(layer_lines(explanation.layer))


def sum_lines(unit: Unit) -> list[str]:
    """Write a unit's sum out, a line for each product."""
    signs = " " + "+" * (len(unit.inputs) - 1)
    lines = [
        f"{sign} {number(w):>7} * {number(x):>7} = {number(product):>8}"
        for sign, w, x, product in zip(signs, unit.weights, unit.inputs, unit.products, strict=True)
    ]
    ending = [f"+ {number(unit.bias):>28}   (bias)", f"= {number(unit.output):>28}"]
    return [*lines, *ending]


def layer_lines(layer: DenseLayer) -> list[str]:
    """Write a layer as a product of matrix and vector."""
    return beside(matrix(layer.weights), column(layer.inputs), "+", column(layer.biases), "=", column(layer.outputs))
