"""Numbers laid out as on paper, and arrays drawn in shades."""

import numpy as np
import pytest

from digitnet.console.diagrams import beside, column, decimals_of, matrix, number
from digitnet.drawing import draw_shades


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        ([1, -2, 30], 0),
        ([0.5, 2], 1),
        ([0, 0], 0),
        ([], 0),
        ([1 / 3, 2], 3),
        ([1 / 3], 4),
        ([1 / 3, 2000], 0),
        ([1e-5 / 3], 8),
        ([0.1, float(np.float32(0.1))], 1),
    ],
)
def test_decimals_are_as_many_as_are_needed(values, decimals):
    assert decimals_of(values) == decimals


def test_a_number_that_is_not_0_does_not_become_0():
    assert [number(value) for value in (0.0, -2.0, 1 / 3, 1e-7 / 3)] == ["0", "-2", "0.3333", "3.333e-08"]


def test_matrices_stand_in_columns():
    assert matrix([(1, -2.5), (10, -0.0)]) == ["[  1.0  -2.5 ]", "[ 10.0   0.0 ]"]
    assert column([1, -2], decimals=1) == ["[  1.0 ]", "[ -2.0 ]"]
    assert column([-0.001, 0.5], decimals=2) == ["[ 0.00 ]", "[ 0.50 ]"]


def test_drawings_stand_beside_each_other_in_the_middle():
    assert beside(["a", "b", "c"], "+", ["dd"]) == ["a", "b + dd", "c"]


def test_shades_take_ink_from_numbers():
    values = np.array([[0.0, 0.5, 1.0]])
    assert draw_shades(values, "utf-8") == ["  ▒▒██"]
    assert draw_shades(values, "ascii") == draw_shades(values, None) == ["  ++@@"]
