"""Outlines around a digit and lines below or above it go; what belongs to a digit stays; blots and noise are told."""

import numpy as np
import papers
import pytest
import scenes
from PIL import Image, ImageDraw

from digitnet.components import connected
from digitnet.data.strokes import draw_strokes
from digitnet.drawing import describe
from digitnet.marks import find_marks
from digitnet.pictures import prepare


@pytest.fixture(scope="module")
def glyphs():
    images, targets = draw_strokes(120, seed=21)
    return [images[targets == digit][0, 0].numpy() for digit in range(10)]


def marks_of(draw, size=(200, 240)):
    """Draw dark on light and count the marks that are found: outlines and lines."""
    picture = Image.new("L", size, 0)
    draw(ImageDraw.Draw(picture))
    mask = np.asarray(picture) > 128
    parts = connected(mask)
    outlines, lines = find_marks(mask, parts, np.ones(len(parts.area), bool))
    return int(outlines.sum()), int(lines.sum())


class TestMarks:
    @pytest.mark.parametrize("mark", scenes.OUTLINES)
    def test_outlines_are_removed_and_counted(self, glyphs, mark):
        counts = []
        for seed, glyph in enumerate(glyphs):
            steps = prepare(papers.photograph(glyph, seed, scenes.OUTLINES[mark])).steps
            counts.append((steps.outlines, steps.bars))
        assert counts.count((1, 0)) >= 9

    @pytest.mark.parametrize(("mark", "lines"), [("underline", 1), ("overline", 1), ("two underlines", 2)])
    def test_lines_are_removed_and_counted(self, glyphs, mark, lines):
        counts = []
        for seed, glyph in enumerate(glyphs):
            steps = prepare(papers.photograph(glyph, seed, scenes.BARS[mark])).steps
            counts.append((steps.outlines, steps.bars))
        assert counts.count((0, lines)) >= 9

    def test_it_is_said(self, glyphs):
        steps = prepare(papers.photograph(glyphs[3], 1, scenes.boxed)).steps
        assert "1 outline removed" in describe(steps)
        photo = scenes.on_table(papers.photograph(glyphs[3], 1, "plain"), 1, tilt=20)
        assert "cropped to the sheet, turned by +" in describe(prepare(photo).steps)

    def test_a_mark_in_a_mark(self):
        def draw(pen):
            pen.rectangle((10, 10, 190, 230), outline=255, width=5)
            pen.ellipse((30, 30, 170, 210), outline=255, width=5)
            pen.line([(100, 70), (100, 150)], fill=255, width=8)
            pen.line([(75, 175), (125, 175)], fill=255, width=6)

        assert marks_of(draw) == (2, 1)


ZERO = (50, 30, 150, 210)


class TestWhatBelongsToADigit:
    def test_each_digit_is_whole(self, glyphs):
        for glyph in glyphs:
            steps = prepare(Image.fromarray(glyph).resize((224, 224), Image.Resampling.BICUBIC)).steps
            assert (steps.outlines, steps.bars) == (0, 0)

    @pytest.mark.parametrize("inside", ["nothing", "dot", "slash", "dash", "dust"])
    def test_zero(self, inside):
        def draw(pen):
            pen.ellipse(ZERO, outline=255, width=14)
            if inside == "dot":
                pen.ellipse((90, 110, 110, 130), fill=255)
            if inside == "slash":
                pen.line([(80, 160), (122, 82)], fill=255, width=10)
            if inside == "dash":
                pen.line([(100, 95), (100, 145)], fill=255, width=10)
            if inside == "dust":
                for x, y in ((85, 80), (112, 100), (90, 150), (108, 170)):
                    pen.rectangle((x, y, x + 2, y + 2), fill=255)

        assert marks_of(draw) == (0, 0)

    def test_bars_and_feet_that_are_apart(self):
        def five(pen):
            pen.line([(70, 55), (66, 115), (120, 110), (145, 150), (120, 200), (60, 205)], fill=255, width=10)
            pen.line([(75, 36), (140, 33)], fill=255, width=10)

        def one(pen):
            pen.line([(100, 40), (100, 190)], fill=255, width=10)
            pen.line([(65, 203), (135, 203)], fill=255, width=8)

        def two(pen):
            pen.arc((60, 30, 140, 110), 180, 60, fill=255, width=10)
            pen.line([(125, 105), (65, 190)], fill=255, width=10)
            pen.line([(60, 205), (150, 205)], fill=255, width=9)

        def seven(pen):
            pen.line([(60, 40), (145, 40)], fill=255, width=10)
            pen.line([(140, 52), (85, 210)], fill=255, width=10)
            pen.line([(75, 130), (150, 126)], fill=255, width=8)

        for draw in (five, one, two, seven):
            assert marks_of(draw) == (0, 0), draw.__name__


def _pale(page):
    page.ink, page.pen, page.height = (0.7, 0.7, 0.7), 0.7, 60


class TestBlots:
    # A triangle fills too little of its box; the network knows it.
    @pytest.mark.parametrize("shape", [shape for shape in scenes.BLOTS if shape != "triangle"])
    def test_a_solid_shape_is_no_digit(self, shape):
        objections = [prepare(scenes.blot(seed, shape)).objection for seed in range(15)]
        assert objections.count("not a digit") >= 12

    def test_digits_are_none(self, glyphs):
        for glyph in glyphs:
            for seed, kind in enumerate(("plain", "shadow", "small", "blurred", "chalk")):
                assert prepare(papers.photograph(glyph, seed, kind)).objection != "not a digit", kind

    def test_digits_in_pale_ink_are_none(self, glyphs):
        for seed, glyph in enumerate(glyphs):
            steps = prepare(scenes.on_table(papers.photograph(glyph, seed, _pale), seed, tilt=4))
            assert steps.objection is None

    def test_a_bold_one_is_none(self):
        bar = Image.new("L", (120, 200), 240)
        ImageDraw.Draw(bar).rectangle((40, 20, 80, 180), fill=20)
        assert prepare(bar).objection is None


class TestNoise:
    @pytest.mark.parametrize("size", [(64, 64), (112, 112), (300, 200)])
    def test_noise_is_said_to_be_noise(self, size):
        rng = np.random.default_rng(0)
        shape = size[::-1]
        for noise in (rng.integers(0, 256, shape), 255 * rng.integers(0, 2, shape), rng.normal(128, 40, shape)):
            ready = prepare(Image.fromarray(noise.clip(0, 255).astype(np.uint8)))
            assert (ready.objection, ready.steps, int(ready.pixels.max())) == ("noise", None, 0)

    def test_grainy_paper_is_blank(self):
        grain = np.random.default_rng(0).normal(200, 6, (200, 200)).astype(np.uint8)
        assert prepare(Image.fromarray(grain)).objection == "blank"
