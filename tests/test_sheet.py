"""A sheet on a table is found at any tilt, and bold light digits are never taken for one."""

import numpy as np
import papers
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from digitnet import hull, sheet
from digitnet.data.strokes import draw_strokes


@pytest.fixture(scope="module")
def glyphs():
    images, targets = draw_strokes(120, seed=21)
    return [images[targets == digit][0, 0].numpy() for digit in range(10)]


def greys(picture):
    return np.asarray(picture.convert("L"), np.float32) / 255


def plain_sheet(tilt, side=160, share=0.5):
    """Draw a light square with a sign on it, turned clockwise about the middle of a dark picture."""
    size = round(side * 2)
    picture = Image.new("L", (size, size), 40)
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * side * share
    corners = hull.turn(square, tilt) + size / 2
    pen = ImageDraw.Draw(picture)
    pen.polygon([tuple(corner) for corner in corners], fill=220)
    sign = hull.turn(np.array([(-15, 30), (0, -30), (15, 30)]), tilt) + size / 2
    pen.line([tuple(point) for point in sign], fill=30, width=6)
    return greys(picture), corners


class TestFindSheet:
    @settings(max_examples=25, deadline=None)
    @given(st.floats(-40, 40))
    def test_outline_and_tilt(self, tilt):
        grey, corners = plain_sheet(tilt)
        outline = sheet.find_sheet(grey)
        assert 0.75 < hull.area_of(outline) / hull.area_of(corners) < 1
        assert sheet.draw(corners, grey.shape)[sheet.draw(outline, grey.shape)].all()
        assert hull.tilt_of(outline) == pytest.approx(tilt, abs=3)

    @settings(max_examples=25, deadline=None)
    @given(st.floats(-40, 40))
    def test_cut_out_it_is_all_paper_and_ink_and_upright(self, tilt):
        grey, _ = plain_sheet(tilt)
        cut = sheet.cut_sheet(grey, straighten=True)
        assert cut.found
        assert cut.tilt == pytest.approx(tilt if abs(tilt) > 2 else 0, abs=3)
        assert np.ptp(cut.grey.shape) <= 0.1 * max(cut.grey.shape)
        edge = np.concatenate([cut.grey[0], cut.grey[-1], cut.grey[:, 0], cut.grey[:, -1]])
        assert edge.min() > 0.8  # no table
        rows, columns = np.nonzero(cut.grey < 0.4)
        assert np.ptp(columns) < 0.75 * np.ptp(rows)  # the sign is higher than wide only when it stands

    def test_left_aslant_it_is_a_cut_of_the_picture(self):
        grey, _ = plain_sheet(20)
        cut = sheet.cut_sheet(grey, straighten=False)
        left, top = cut.corner
        height, width = cut.grey.shape
        same = cut.grey == grey[top : top + height, left : left + width]
        assert cut.tilt == 0
        assert 0.5 < same.mean() < 1
        assert cut.grey[~same].min() > 0.8

    @pytest.mark.parametrize("table", scenes.TABLES)
    def test_tables(self, glyphs, table):
        found = 0
        for seed, glyph in enumerate(glyphs):
            page = papers.photograph(glyph, seed, "plain")
            tilt = (-1) ** seed * (3 + 4 * seed)
            photo = scenes.on_table(page, seed, table=table, tilt=tilt, share=0.4 + 0.03 * seed)
            outline = sheet.find_sheet(greys(photo))
            found += outline is not None and abs(hull.tilt_of(outline) + tilt) < 4
        assert found >= 9

    def test_paper_alone_is_no_sheet(self, glyphs):
        for seed, glyph in enumerate(glyphs):
            for kind in (
                "plain",
                "shadow",
                "ruled",
                "chalk",
                "specks",
                "ruled shadow",
                "squared shadow",
                "margin shadow",
            ):
                page = papers.photograph(glyph, seed, *kind.split())
                assert sheet.find_sheet(greys(page)) is None, kind


class TestBoldDigits:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 9), st.integers(0, 5), st.sampled_from([160, 224, 420]), st.integers(0, 99))
    def test_thick_strokes(self, glyphs, digit, grown, side, seed):
        big = Image.fromarray(glyphs[digit]).resize((side, side), Image.Resampling.BICUBIC)
        for _ in range(grown):
            big = big.filter(ImageFilter.MaxFilter(2 * (side // 112) + 1))
        noise = np.random.default_rng(seed).normal(0, 0.03, (side, side))
        assert sheet.find_sheet((greys(big) * 0.9 + noise).clip(0, 1).astype(np.float32)) is None

    @settings(max_examples=40, deadline=None)
    @given(st.integers(10, 60), st.integers(0, 99))
    def test_bars(self, width, seed):
        bar = Image.new("L", (200, 240), 20)
        ImageDraw.Draw(bar).rectangle((100 - width / 2, 25, 100 + width / 2, 215), fill=230)
        noise = np.random.default_rng(seed).normal(0, 0.04, (240, 200))
        assert sheet.find_sheet((greys(bar) + noise).clip(0, 1).astype(np.float32)) is None

    @settings(max_examples=40, deadline=None)
    @given(st.integers(10, 40), st.integers(0, 60))
    def test_rings(self, width, radius):
        ring = Image.new("L", (200, 240), 20)
        ImageDraw.Draw(ring).rounded_rectangle((40, 30, 160, 210), radius, outline=230, width=width)
        assert sheet.find_sheet(greys(ring)) is None


class TestSpread:
    @settings(max_examples=25, deadline=None)
    @given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 99))
    def test_what_is_known_stays_and_the_rest_lies_between(self, height, width, seed):
        rng = np.random.default_rng(seed)
        values = rng.random((height, width)).astype(np.float32)
        known = rng.random((height, width)) < 0.3
        known[0, 0] = True
        full = sheet.spread(values, known)
        np.testing.assert_array_equal(full[known], values[known])
        assert values[known].min() - 1e-6 <= full.min() <= full.max() <= values[known].max() + 1e-6
