"""``digitnet explain unit``: a linear unit, a dense layer, and two of them, on numbers that can be checked by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from digitnet.cli.explain.options import JsonOption
from digitnet.cli.options import parse_numbers, print_json


def unit(
    x: Annotated[str, typer.Option("--x", metavar="N,N,...", help="Inputs.")] = "2,1,3",
    w: Annotated[
        str, typer.Option("--w", metavar="N,N,...;...", help="Weights: a row for each unit, with ; between.")
    ] = "1,-2,0.5;-1,0.5,-2",
    b: Annotated[str, typer.Option("--b", metavar="N,N,...", help="Biases, one for each unit.")] = "1,2",
    json_: JsonOption = False,
) -> None:
    """Add up a linear unit, y = w x + b, one with several inputs, and a dense layer, y = W x + b."""
    inputs, biases = parse_numbers(x, "--x"), parse_numbers(b, "--b")
    weights = tuple(parse_numbers(row, "--w") for row in w.split(";"))

    from digitnet.console.units import print_units
    from digitnet.explain.units import explain_units

    explanation = explain_units(inputs, weights, biases)
    if json_:
        print_json(asdict(explanation))
    else:
        print_units(explanation)
