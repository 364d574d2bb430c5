"""Ink in lines and pieces: which parts may be digits, in what order, and where those that touch may be cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitnet.components import connected
from digitnet.errors import PictureError
from digitnet.layout import find_lines, find_slope, weighted_median
from digitnet.seams import find_seams
from digitnet.several import holds_several


def page(*boxes, size=(200, 400)):
    """Draw frames of 4 pixels' stroke in boxes (left, top, right, bottom): digits, as far as layout knows."""
    mask = np.zeros(size, bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
        mask[top + 4 : bottom - 4, left + 4 : right - 4] = False
    return mask


def boxes_of(mask):
    return [[piece.box for piece in line.pieces] for line in find_lines(mask)]


ROW = [(20, 60, 40, 100), (60, 62, 80, 100), (100, 58, 104, 99), (130, 60, 150, 102)]


def test_a_row_is_a_line_from_left_to_right():
    assert boxes_of(page(*reversed(ROW))) == [ROW]


def test_nothing_and_dirt_hold_no_line():
    assert find_lines(np.zeros((50, 50), bool)) == []
    dirt = np.zeros((50, 50), bool)
    dirt[10, 10:12] = True
    assert find_lines(dirt) == []


@pytest.mark.parametrize("slope", [-0.25, -0.1, 0.1, 0.25])
def test_lines_that_rise_or_fall_stay_lines(slope):
    lines = [
        [(x, y + round(slope * x), x + 20, y + 40 + round(slope * x)) for x in range(20, 360, 34)] for y in (120, 180)
    ]
    assert boxes_of(page(*lines[1], *lines[0], size=(400, 400))) == lines


def test_the_slope_is_found_within_a_degree():
    boxes = np.array([(100 + round(0.2 * x), x, 140 + round(0.2 * x), x + 20) for x in range(0, 400, 30)])
    assert find_slope(boxes, 40.0) == pytest.approx(0.2, abs=0.02)
    assert find_slope(boxes[:1], 40.0) == 0


@pytest.mark.parametrize(
    "extra",
    [
        (45, 96, 51, 101),  # a dot
        (84, 78, 96, 82),  # a dash
        (10, 110, 390, 113),  # a rule
        (10, 30, 170, 125),  # a frame around all
        (390, 0, 400, 200),  # a shadow along the edge
        (200, 3, 202, 5),  # dirt
    ],
    ids=["dot", "dash", "rule", "frame", "shadow", "dirt"],
)
def test_what_is_no_digit_is_left_out(extra):
    mask = page(*ROW) | page(extra)
    found = [piece.box for line in find_lines(mask) for piece in line.pieces if piece.is_main]
    assert found == ROW


def test_parts_over_one_another_are_one_digit():
    halves = [(60, 60, 80, 78), (60, 81, 80, 100)]
    assert boxes_of(page(ROW[0], *halves, ROW[3])) == [[ROW[0], (60, 60, 80, 100), ROW[3]]]


def test_a_broken_end_near_a_digit_is_kept_as_a_piece_of_its_own():
    (line,) = find_lines(page(ROW[0], (62, 60, 80, 100), (82, 60, 92, 64)))
    assert [(piece.box, piece.is_main) for piece in line.pieces][-1] == ((82, 60, 92, 64), False)


def test_a_page_of_joined_writing_is_refused():
    y, x = np.mgrid[:40, :150]
    word = np.abs(y - 20 - 15 * (np.abs(x % 10 - 5) / 2.5 - 1)) < 5  # up and down all along
    words = np.pad(word, ((10, 10), (10, 10)))
    assert len(find_lines(np.tile(words, (2, 4)))) == 2
    with pytest.raises(PictureError, match="more than 250 pieces"):
        find_lines(np.tile(words, (20, 6)))  # 120 words: few enough before they are cut


def test_two_lozenges_that_touch_are_cut_where_they_touch():
    y, x = np.mgrid[:60, :120]
    lozenges = np.zeros((60, 120), bool)
    for centre in (31, 84):
        radius = np.abs(y - 30) + np.abs(x - centre)
        lozenges |= (radius < 28) & (radius > 18)
    seams = find_seams(lozenges, 56)
    between = min(seams, key=lambda seam: abs(int(seam.columns[30]) - 57))
    assert abs(int(between.columns[30]) - 57) <= 2
    assert between.ink <= 4
    (line,) = find_lines(np.pad(lozenges, 10))
    pieces = np.zeros((80, 140), int)
    for piece in line.pieces:
        left, top, right, bottom = piece.box
        pieces[top:bottom, left:right] += piece.mask
    np.testing.assert_array_equal(pieces, np.pad(lozenges, 10))  # each pixel of ink is in one piece


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_seam_goes_from_row_to_row_by_a_pixel_at_most_and_crosses_the_ink_it_says(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((int(rng.integers(5, 40)), int(rng.integers(2, 60)))) < rng.uniform(0.1, 0.9)
    for seam in find_seams(mask, 20.0):
        assert len(seam.columns) == len(mask)
        assert np.abs(np.diff(seam.columns)).max() <= 1
        assert seam.ink == mask[np.arange(len(mask)), seam.columns].sum()


def cheapest(mask, column):
    """The cheapest way through the pixel of the middle row, by trying every step: an oracle for small masks."""
    middle = len(mask) // 2

    def best(row, col, step):
        ahead = row + step
        if not 0 <= ahead < len(mask):
            return float(mask[row, col])
        ways = [best(ahead, c, step) + 0.05 * (c != col) for c in (col - 1, col, col + 1) if 0 <= c < mask.shape[1]]
        return mask[row, col] + min(ways)

    return best(middle, column, -1) + best(middle, column, 1) - mask[middle, column]


def test_a_seam_is_the_cheapest_through_its_place():
    rng = np.random.default_rng(3)
    for _ in range(10):
        mask = rng.random((9, 16)) < 0.5
        for seam in find_seams(mask, 16.0):
            price = seam.ink + 0.05 * np.count_nonzero(np.diff(seam.columns))
            assert price == pytest.approx(cheapest(mask, int(seam.columns[4])), abs=1e-5)


def test_the_weighted_median_is_that_of_the_values_repeated():
    values, weights = np.array([5, 1, 9, 3]), np.array([2, 7, 3, 1])
    assert weighted_median(values, weights) == np.sort(np.repeat(values, weights))[(13 - 1) // 2]


class TestHoldsSeveral:
    @pytest.mark.parametrize(
        "boxes",
        [
            ROW,
            ROW[:2],
            [(20, 60, 24, 100), (34, 60, 38, 100)],  # 11
            [(20, 20, 44, 60), (20, 80, 44, 120)],  # one above the other
            [(20, 60, 140, 100)],  # in a row, and touching
            # 72 over 908: no column of paper between any two
            [(20, 20, 64, 60), (76, 20, 118, 60), (20, 90, 44, 130), (52, 90, 80, 130), (98, 90, 140, 130)],
        ],
    )
    def test_several(self, boxes):
        assert holds_several(connected(page(*boxes)).box)

    @pytest.mark.parametrize(
        "boxes",
        [
            ROW[:1],
            [(20, 60, 40, 100), (41, 60, 46, 100)],  # a 4 whose stem is hardly apart
            [(20, 60, 40, 100), (44, 60, 70, 66)],  # a 5 with its flag apart
            [(20, 60, 40, 78), (20, 81, 40, 100)],  # a broken 8
            [(20, 20, 25, 60), (20, 68, 25, 110)],  # a broken 1
            [(20, 20, 60, 80), (30, 30, 50, 70)],  # one in the other
            [(20, 60, 180, 66)],  # a line
        ],
    )
    def test_one(self, boxes):
        assert not holds_several(connected(page(*boxes)).box)
