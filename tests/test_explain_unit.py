"""digitnet explain unit: its numbers against NumPy's, and the text and JSON of the command."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from digitnet.cli import app
from digitnet.errors import UsageError
from digitnet.explain.units import explain_units


def run(*arguments):
    return CliRunner().invoke(app, ["explain", "unit", *arguments])


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_units_and_layers_are_numpys(inputs, units, seed):
    random = np.random.default_rng(seed)
    x, w, b = random.normal(size=inputs), random.normal(size=(units, inputs)), random.normal(size=units)
    explained = explain_units(tuple(x), tuple(map(tuple, w)), tuple(b))
    assert explained.single.output == pytest.approx(w[0, 0] * x[0] + b[0], abs=1e-6)
    assert explained.several.products == pytest.approx(w[0] * x, abs=1e-6)
    assert explained.several.output == pytest.approx(np.dot(w[0], x) + b[0], abs=1e-5)
    assert explained.layer.outputs == pytest.approx(w @ x + b, abs=1e-5)


def test_sizes_have_to_fit():
    with pytest.raises(UsageError, match="row 2 of --w has 1 weights, and --x has 2 numbers"):
        explain_units((1.0, 2.0), ((1.0, 2.0), (3.0,)), (1.0, 2.0))
    with pytest.raises(UsageError, match="--b has 1 numbers, and --w has 2 rows"):
        explain_units((1.0,), ((1.0,), (3.0,)), (1.0,))


def test_the_sums_are_written_out():
    done = run("--x", "3,-1", "--w", "2,0.5", "--b", "1")
    assert done.exit_code == 0
    assert done.output.splitlines()[1:4] == [
        "          2 *       3 =        6",
        "  +                            1   (bias)",
        "  =                            7",
    ]
    assert "[ 2.0  0.5 ] [  3 ] + [ 1 ] = [ 6.5 ]" in done.output.replace("\n  ", "")
    assert max(map(len, done.output.splitlines())) <= 80


def test_json_holds_the_same():
    document = json.loads(run("--x", "3,-1", "--w", "2,0.5", "--b", "1", "--json").output)
    assert document["layer"] == {"inputs": [3, -1], "weights": [[2, 0.5]], "biases": [1], "outputs": [6.5]}
