"""What is ink: its connected parts, its polarity, the paper under it and the width of its strokes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from digitnet import components, ink, normalise, paper
from digitnet.errors import BlankError
from digitnet.parts import keep_strokes
from digitnet.pictures import to_digit


class TestInk:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0.2, 0.7))
    def test_connected_parts_against_a_flood_fill(self, height, width, seed, share):
        mask = np.random.default_rng(seed).random((height, width)) < share
        parts = components.connected(mask)
        expected = flood_fill(mask)
        found = np.full(mask.shape, -1)
        found[mask] = parts.labels
        pairs = {(int(a), int(b)) for a, b in zip(found[mask], expected[mask], strict=True)}
        assert len(pairs) == len(parts.area) == len(np.unique(expected[mask]))
        for part in range(len(parts.area)):
            ys, xs = np.nonzero(found == part)
            assert parts.area[part] == len(ys)
            assert parts.box[part].tolist() == [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]

    def test_spiral_is_one_part(self):
        mask = np.zeros((201, 201), bool)
        for r in range(0, 100, 4):
            mask[r, r : -r or None] = mask[r : -r or None, -1 - r] = mask[-1 - r, r : -r or None] = True
            mask[r + 4 : -r or None, r] = mask[r + 4, r : r + 5] = True
        assert len(components.connected(mask).area) == 1

    def test_polarity_is_told_by_the_border(self):
        grey = np.full((50, 50), 0.3, np.float32)
        grey[20:30, 20:30] = 0.8
        assert not paper.is_dark_on_light(grey)
        assert paper.is_dark_on_light(1 - grey)

    @pytest.mark.parametrize("turns", range(4))
    def test_a_slope_of_light_and_an_edge_of_it_are_blank(self, turns):
        slope = np.tile(np.linspace(0, 1, 300, dtype=np.float32), (300, 1))
        for page in (slope, 0.2 + 0.6 * (slope > 0.5)):
            with pytest.raises(BlankError):
                ink.map_ink(np.rot90(page, turns).astype(np.float32))

    def test_one_that_fills_its_picture_is_kept(self):
        one = Image.new("L", (60, 200), 255)
        ImageDraw.Draw(one).rectangle((26, 0, 33, 199), fill=0)
        assert (to_digit(one).max(axis=1) > 128).sum() == 20


def flood_fill(mask):
    """Number the 8-connected parts pixel by pixel: slow, obvious."""
    labels = np.full(mask.shape, -1)
    for label, seed in enumerate(zip(*np.nonzero(mask), strict=True)):
        todo = [seed]
        while todo:
            y, x = todo.pop()
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x] and labels[y, x] < 0:
                labels[y, x] = label
                todo += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return labels


class TestStrokes:
    @pytest.mark.parametrize("width", [4, 8, 16])
    def test_width_of_a_bar(self, width):
        bar = np.zeros((120, 60), np.float32)
        bar[10:110, 20 : 20 + width] = 1
        assert normalise.stroke_width(bar) == pytest.approx(width, rel=0.3)

    @pytest.mark.parametrize("radius", [-2.0, -1.0, 1.0, 2.5])
    def test_a_disc_grows_and_shrinks_by_the_radius(self, radius):
        y, x = np.mgrid[-30:31, -30:31]
        disc = (np.hypot(y, x) < 15).astype(np.float32)
        area = float(normalise.thicken(disc, radius).sum())
        assert np.sqrt(area / np.pi) == pytest.approx(15 + radius, abs=0.5)

    def test_a_strip_along_the_edge_and_remnants_of_lines_are_no_ink(self):
        mask, tracks = np.zeros((2, 100, 100), bool)
        mask[:4, :60] = True  # along the top
        mask[50, 20:40:2] = tracks[50] = True  # what is left of a line
        kept = keep_strokes(mask, tracks)
        assert not kept.mask.any()
        assert kept.specks == components.connected(mask).area.size
