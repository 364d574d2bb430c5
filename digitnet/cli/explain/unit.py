"""``digitnet explain unit``: a linear unit, a dense layer, and two of them, on numbers that can be checked by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from digitnet.cli.explain.options import AsciiOption, FiguresOption, JsonOption
from digitnet.cli.options import parse_numbers, print_json
from digitnet.errors import UsageError

if TYPE_CHECKING:
    from digitnet.explain.unit.units import Matrix, Row


def unit(
    x: Annotated[str, typer.Option("--x", metavar="N,N,...", help="Inputs of the first layer.")] = "2,1,3",
    w: Annotated[
        str,
        typer.Option(
            "--w", metavar="'N,N,...;...'", help="Weights of the first layer: a row for each unit, ; between."
        ),
    ] = "1,-2,0.5;-1,0.5,-2",
    b: Annotated[
        str | None,
        typer.Option("--b", metavar="N,...", help="Biases of the first layer, one for each unit. Left out: 1, 2, ..."),
    ] = None,
    w2: Annotated[
        str | None,
        typer.Option(
            "--w2",
            metavar="'N,N,...;...'",
            help="Weights of the second layer, in the same way. Left out: small whole numbers.",
        ),
    ] = None,
    b2: Annotated[
        str | None,
        typer.Option("--b2", metavar="N,...", help="Biases of the second layer. Left out: 0; without --w2, 0,-1."),
    ] = None,
    ascii_: AsciiOption = False,  # noqa: ARG001 (as all of explain does; here, there is nothing but ASCII)
    output: FiguresOption = None,
    json_: JsonOption = False,
) -> None:
    """Add up a linear unit, a dense layer, and two layers, which are one until ReLU stands between them.

    All numbers can be checked by hand: first y = w x + b with one input, then with several, then the layer
    y = W x + b.
    """
    inputs, weights = _row(x, "--x"), _rows(w, "--w")
    biases = _row(b, "--b") if b is not None else tuple(float(i) for i in range(1, len(weights) + 1))
    second = _second(w2, b2)

    from digitnet.explain.unit.units import explain_units

    if output:  # that matplotlib is missing is said before anything is done
        from digitnet.explain.unit.activations import draw_activations
        from digitnet.explain.unit.figure import draw_units
    explanation = explain_units(inputs, (weights, biases), second)
    if json_:
        print_json(asdict(explanation))
    else:
        from digitnet.console.units import print_units

        print_units(explanation)
    if output:
        from digitnet.console.notes import note_drawn

        note_drawn((*draw_units(explanation, output), draw_activations(output)))


def _second(w2: str | None, b2: str | None) -> tuple[Matrix, Row] | None:
    if w2 is None:
        if b2 is not None:
            raise UsageError("--b2 belongs to --w2, which is left out")
        return None
    weights = _rows(w2, "--w2")
    return weights, _row(b2, "--b2") if b2 is not None else (0.0,) * len(weights)


def _rows(text: str, option: str) -> Matrix:
    return tuple(_row(row, option) for row in text.split(";"))


def _row(text: str, option: str) -> Row:
    numbers = parse_numbers(text, option, "2,1,3")
    if not all(abs(number) <= 1e6 for number in numbers):  # false for NaN, too; products of these fit into float32
        raise UsageError(f"{option} takes numbers up to a million, not {text!r}")
    return numbers
