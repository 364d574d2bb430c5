"""Ruled lines and dark edges go, the digit's own strokes stay, and clean drawings are left as they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from digitnet import ruling

INK, LINE = 0.8, 0.5


def slanted(height, width, row, rise, thickness, level=LINE):
    """Draw one line with soft edges, which rises by so many rows from side to side."""
    y, x = np.mgrid[:height, :width]
    distance = np.abs(y - row - rise * (x / (width - 1) - 0.5))
    return (level * np.clip(thickness / 2 - distance + 0.5, 0, 1)).astype(np.float32)


def seven(size=(300, 260), width=16):
    """A barred 7, which has two level strokes; its own ink alone."""
    picture = Image.new("L", size[::-1], 0)
    draw = ImageDraw.Draw(picture)
    draw.line([(70, 60), (190, 60), (110, 250)], fill=255, width=width, joint="curve")
    draw.line([(100, 150), (185, 150)], fill=255, width=width)
    return np.asarray(picture, np.float32) / 255 * np.float32(INK)


def over(*layers):
    """Lay inks over each other: each lets its share of the light through."""
    return (1 - np.prod([1 - layer for layer in layers], axis=0)).astype(np.float32)


def ruled(digit, spacing, thickness, rise, *, level=LINE):
    rows = np.arange(spacing / 2, digit.shape[0], spacing)
    return over(digit, *(slanted(*digit.shape, row, rise, thickness, level) for row in rows)), len(rows)


class TestRadon:
    @settings(max_examples=20, deadline=None)
    @given(st.integers(20, 80), st.integers(-10, 10))
    def test_the_peak_is_the_line(self, row, rise):
        line = slanted(100, 48, row, rise, 1.5, 1.0)
        rises, cover = ruling.radon(line, 12)
        index, peak = np.unravel_index(cover.argmax(), cover.shape)
        assert abs(rises[index] - rise) <= 2
        assert abs(peak - row) <= 1

    def test_against_a_sum_by_hand(self):
        samples = np.random.default_rng(0).random((30, 8)).astype(np.float32)
        rises, cover = ruling.radon(samples, 3)
        by_hand = np.mean([samples[15 + round(2 * (place / 7 - 0.5)), place] for place in range(8)])
        assert cover[list(rises).index(2), 15] == pytest.approx(by_hand, abs=1e-6)


class TestLines:
    @settings(max_examples=15, deadline=None)
    @given(st.integers(30, 90), st.floats(2, 6), st.floats(-15, 15), st.booleans())
    def test_go_and_the_strokes_that_they_cross_stay(self, spacing, thickness, rise, turned):
        digit = seven()
        page, count = ruled(digit, spacing, thickness, rise)
        cleared = ruling.remove_lines(page.T if turned else page, 0.3)
        left = (cleared.ink.T if turned else cleared.ink) > 0.3
        wanted = digit > 0.3
        assert abs(cleared.count - count) <= max(1, count // 4)  # one that bends may be taken for two
        assert (left & wanted).sum() > 0.95 * wanted.sum()
        # One line may stay, where it runs along a bar's edge.
        assert (left & ~wanted).sum() < 0.12 * wanted.sum() + digit.shape[1 - turned] * (thickness + 1)

    def test_squares_go(self):
        digit = seven()
        page, _ = ruled(ruled(digit, 50, 4, 6)[0].T, 50, 4, -6)
        cleared = ruling.remove_lines(np.ascontiguousarray(page.T), 0.3)
        wanted = digit > 0.3
        left = cleared.ink > 0.3
        assert (left & wanted).sum() > 0.93 * wanted.sum()
        assert (left & ~wanted & ~cleared.tracks).sum() < 0.05 * wanted.sum()

    @pytest.mark.parametrize("turns", [0, 1])
    @pytest.mark.parametrize("width", [8, 16, 30])
    def test_a_digit_from_side_to_side_keeps_its_strokes(self, turns, width):
        digit = seven(width=width)
        rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
        cropped = np.rot90(digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], turns)
        assert ruling.remove_lines(cropped, 0.3).count == 0

    def test_a_one_from_top_to_bottom_is_no_line(self):
        one = slanted(200, 120, 60, 3, 5, INK)
        assert ruling.remove_lines(one.T, 0.3).count == ruling.remove_lines(one, 0.3).count == 0

    def test_a_single_line_must_be_thinner_or_paler(self):
        digit = seven()
        for thickness, level, count in ((4, INK, 1), (12, 0.4, 1), (14, INK, 0)):
            page = over(digit, slanted(*digit.shape, 150, 5, thickness, level))
            assert ruling.remove_lines(page, 0.25).count == count, (thickness, level)

    def test_bent_lines_are_followed(self):
        digit = seven()
        y, x = np.mgrid[: digit.shape[0], : digit.shape[1]]
        bend = 6 * np.cos((x / digit.shape[1] - 0.5) * np.pi)
        rules = [LINE * np.clip(2.5 - np.abs(y - row - bend), 0, 1) for row in range(20, 300, 50)]
        cleared = ruling.remove_lines(over(digit, *rules), 0.3)
        assert cleared.count == len(rules)
        assert ((cleared.ink > 0.3) & (digit < 0.3)).sum() < 0.1 * (digit > 0.3).sum()

    def test_what_has_none_comes_back_as_it_is(self):
        digit = seven()
        assert ruling.remove_lines(digit, 0.3).ink is digit


class TestEdges:
    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 3), st.integers(1, 12))
    def test_a_strip_along_a_side_is_cropped(self, turns, depth):
        digit = np.rot90(seven(), turns).copy()
        page = digit.copy()
        page[:depth] = 0.9
        turned = np.rot90(page, -turns)
        cropped = turned[ruling.inside_of(turned, 0.3)]
        np.testing.assert_array_equal(np.rot90(cropped, turns), digit[depth + 2 :])

    def test_a_stroke_at_the_edge_is_no_strip(self):
        page = seven()[52:]
        assert page[ruling.inside_of(page, 0.3)].shape == page.shape

    def test_nothing_but_a_strip_is_left(self):
        page = np.zeros((100, 100), np.float32)
        page[:8] = 0.9
        assert page[ruling.inside_of(page, 0.3)].shape == page.shape
