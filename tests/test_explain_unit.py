"""digitnet explain unit: its numbers against NumPy's, and the text, JSON and figure of the command."""

import json
import re
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from digitnet.cli import app
from digitnet.config import ActivationName
from digitnet.errors import UsageError
from digitnet.explain.step.calculus import activate, slope
from digitnet.explain.unit.activations import sample
from digitnet.explain.unit.units import explain_units, measure_rounding, second_layer, walk


def run(*arguments):
    return CliRunner().invoke(app, ["explain", "unit", *arguments])


def plain(array):
    return tuple(map(tuple, array.tolist())) if array.ndim == 2 else tuple(array.tolist())


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_units_and_layers_are_numpys(inputs, units, outputs, seed):
    random = np.random.default_rng(seed)
    x, w, b = random.normal(size=inputs), random.normal(size=(units, inputs)), random.normal(size=units)
    v, c = random.normal(size=(outputs, units)), random.normal(size=outputs)
    explained = explain_units(plain(x), (plain(w), plain(b)), (plain(v), plain(c)))
    assert explained.single.output == pytest.approx(w[0, 0] * x[0] + b[0], abs=1e-6)
    assert explained.several.products == pytest.approx(w[0] * x, abs=1e-6)
    assert explained.several.output == pytest.approx(np.dot(w[0], x) + b[0], abs=1e-5)
    assert explained.layer.outputs == pytest.approx(w @ x + b, abs=1e-5)
    assert explained.stack.second.outputs == pytest.approx(v @ (w @ x + b) + c, abs=1e-5)
    assert np.array(explained.stack.product.weights) == pytest.approx(v @ w, abs=1e-5)
    assert explained.stack.product.biases == pytest.approx(v @ b + c, abs=1e-5)
    assert explained.stack.error < 1e-5
    bend = explained.bend
    for point, hidden, y, linear in zip(bend.inputs, bend.hidden, bend.outputs, bend.linear_outputs, strict=True):
        assert hidden == pytest.approx(w @ point + b, abs=1e-4)
        assert y == pytest.approx(v @ np.maximum(w @ point + b, 0) + c, abs=1e-4)
        assert linear == pytest.approx(v @ (w @ point + b) + c, abs=1e-4)
    ends = np.array(bend.inputs)[[0, 2]]
    assert bend.inputs[1] == pytest.approx(ends.mean(0), abs=1e-5)
    assert bend.mean == pytest.approx(np.array(bend.outputs)[[0, 2]].mean(0), abs=1e-5)
    assert np.abs(np.array(bend.mean) - bend.outputs[1]).max() > 1e-4


def test_without_an_effect_of_relu_there_is_no_bend():
    one = ((1.0,),), (1.0,)
    assert explain_units((2.0,), (((0.0,),), (1.0,)), one).bend is None  # nothing reaches the unit
    assert explain_units((2.0,), one, (((0.0,),), (1.0,))).bend is None  # and nothing leaves it
    assert explain_units((2.0,), one, one).bend is not None


def test_the_way_between_the_ends_goes_through_what_is_shown():
    explained = explain_units((2.0, 1.0), (((1.0, -2.0), (3.0, 0.5)), (0.0, 1.0)))
    linear, product, rectified = walk(explained, explained.bend, 5)
    np.testing.assert_allclose(linear[[0, 2, 4]], explained.bend.linear_outputs, atol=1e-5)
    np.testing.assert_allclose(rectified[[0, 2, 4]], explained.bend.outputs, atol=1e-5)
    np.testing.assert_allclose(product, linear, atol=1e-5)


@pytest.mark.parametrize("name", get_args(ActivationName))
def test_the_activations_drawn_are_those_by_hand(name):
    z, outputs, slopes = map(np.array, sample(name))
    assert (len(z), z[0], z[-1]) == (801, -4, 4)
    assert outputs == pytest.approx(activate(z, name), abs=1e-5)
    assert slopes == pytest.approx(slope(z, name), abs=1e-5)


def test_rounding_is_as_small_as_float32_is_exact():
    rounding = measure_rounding()
    assert 0 < rounding.error < 100 * np.finfo(np.float32).eps * rounding.largest_output


def test_the_second_layer_that_is_made_has_small_whole_numbers():
    assert second_layer(3) == (((1, -1, 1), (2, 1, 2)), (0, -1))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ((((1.0, 2.0), (3.0,)), (1.0, 2.0)), None, "row 2 of --w has 1 number, and --x has 2: a weight for each"),
        ((((1.0, 2.0),), (1.0, 2.0)), None, "--b has 2 numbers, and --w has 1 row: a bias for each"),
        ((((1.0, 2.0),), (1.0,)), (((1.0, 2.0),), (1.0,)), "row 1 of --w2 has 2 numbers, and --w makes 1"),
    ],
)
def test_sizes_have_to_fit(first, second, message):
    with pytest.raises(UsageError, match=message):
        explain_units((1.0, 2.0), first, second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--x", "1,a"], "--x takes numbers with a comma between, such as 2,1,3"),
        (["--x", "nan"], "--x takes numbers up to a million"),
        (["--w", "1e9,1,1"], "--w takes numbers up to a million"),
        (["--b2", "1"], "--b2 belongs to --w2"),
    ],
)
def test_wrong_numbers_are_refused_in_a_line(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_sums_are_written_out():
    done = run("--x", "3,-1", "--w", "2,0.5", "--b", "1")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert [line.split() for line in lines[1:4]] == [["2", "*", "3", "=", "6"], ["+", "1", "(bias)"], ["=", "7"]]
    assert lines[12:14] == ["  [ 2.0  0.5 ] [  3 ] + [ 1 ] = [ 6.5 ]", "               [ -1 ]"]
    assert max(map(len, lines)) <= 80
    assert done.output.isascii()


def test_what_is_too_wide_is_put_in_other_words():
    wide = ",".join(["0.125"] * 20)
    done = run("--x", wide, "--w", f"{wide};{wide}", "--b", "1,0")
    assert "  y1 = (row 1 of 20) x + 1 = 1.312\n" in done.output
    assert max(map(len, done.output.splitlines())) <= 80


def test_json_holds_the_same():
    document = json.loads(run("--x", "3,-1", "--w", "2,0.5", "--b", "1", "--json").output)
    assert document["layer"] == {"inputs": [3, -1], "weights": [[2, 0.5]], "biases": [1], "outputs": [6.5]}


@pytest.mark.parametrize(
    ("arguments", "heights"),
    [
        ([], {"neuron": 485, "layer": 485, "stack": 885}),
        (["--w", "0,0,0"], {"neuron": 485, "layer": 485, "stack": 485}),  # no ReLU bends it
        (["--w", ";".join(["1,2,3"] * 9)], {"neuron": 485, "layer": 830, "stack": 1230}),  # of nine units six are drawn
        (["--x", "1", "--w", "2"], {"neuron": 440, "layer": 255, "stack": 770}),
    ],
)
def test_the_figures_are_as_high_as_their_networks(tmp_path, arguments, heights):
    folder = tmp_path / "figures"
    done = run(*arguments, "--output", str(folder))
    assert done.stderr == "".join(f"Drew {folder / name}.png.\n" for name in (*heights, "activations"))
    for name, height in heights.items():
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.size == (1200, height)


@pytest.mark.parametrize("columns", [40, 60])
def test_a_narrow_terminal_shows_the_same_numbers_each_whole(monkeypatch, columns):
    def numbers(text):
        return set(re.findall(r"[\d.e+-]*\d", text))

    wide = run().stdout
    monkeypatch.setenv("COLUMNS", str(columns))
    narrow = run().stdout
    assert numbers(narrow) == numbers(wide)
    assert max(map(len, narrow.splitlines())) <= columns


def test_ascii_is_taken_as_by_the_other_commands():
    assert run("--ascii").stdout == run().stdout
    assert run().stdout.isascii()
