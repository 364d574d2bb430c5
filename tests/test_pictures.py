"""Any picture becomes the digit that MNIST would have made of it."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from digitnet import normalise
from digitnet.errors import PictureError
from digitnet.pictures import read_digit, to_digit

FIVE = [(150, 40), (85, 45), (80, 95), (120, 90), (150, 115), (150, 150), (120, 175), (70, 165)]


def drawing(width=10, *, size=(220, 220), shift=(0, 0), scale=1.0, ink_level=0, paper=255):
    """A 5 with strokes of `width` pixels: no symmetry, so every turn and flip shows."""
    picture = Image.new("L", size, paper)
    points = [(round(x * scale) + shift[0], round(y * scale) + shift[1]) for x, y in FIVE]
    draw = ImageDraw.Draw(picture)
    draw.line(points, fill=ink_level, width=round(width * scale), joint="curve")
    for x, y in (points[0], points[-1]):
        r = width * scale / 2 - 0.5
        draw.ellipse((x - r, y - r, x + r, y + r), fill=ink_level)
    return picture


def mean_difference(a, b):
    """Mean absolute difference as a share of the ink in `a`."""
    return np.abs(a.astype(float) - b.astype(float)).sum() / a.sum()


def assert_near(a, b, tolerance=0.2):
    """Allow for a shift by one pixel, as the centre of mass is rounded, and a quarter pixel at all edges."""
    shifts = [np.roll(b, (dy, dx), axis=(0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    assert min(mean_difference(a, shifted) for shifted in shifts) < tolerance


def mnist_like(seed, light=255):
    """What MNIST's makers did with random blobs: a 20-pixel box, centre of mass within half a pixel of 14."""
    rng = np.random.default_rng(seed)
    height, width = (20, int(rng.integers(4, 21)))
    box = rng.integers(0, 256, (height, width), dtype=np.uint8)
    box[0, 0] = box[-1, -1] = box[0, -1] = box[-1, 0] = light
    digit = np.zeros((28, 28), np.uint8)
    mass = box.sum()
    y, x = (box.sum(1) @ np.arange(height)) / mass, (box.sum(0) @ np.arange(width)) / mass
    top, left = round(14 - y), round(14 - x)
    digit[top : top + height, left : left + width] = box
    return digit


def save(tmp_path, picture, name="five.png", **options):
    path = tmp_path / name
    picture.save(path, **options)
    return path


REFERENCE = to_digit(drawing())


class TestMnistForm:
    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 2**32 - 1))
    def test_untouched_bit_for_bit(self, seed):
        digit = mnist_like(seed)
        stream = io.BytesIO()
        Image.fromarray(digit).save(stream, "PNG")
        np.testing.assert_array_equal(to_digit(Image.open(stream)), digit)

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 2**32 - 1))
    def test_inverted_comes_back_light_on_black(self, seed):
        digit = mnist_like(seed)
        np.testing.assert_array_equal(to_digit(Image.fromarray(255 - digit)), digit)

    def test_grey_rgb(self):
        digit = mnist_like(3)
        np.testing.assert_array_equal(to_digit(Image.fromarray(digit).convert("RGB")), digit)

    def test_result_has_mnist_form_and_is_a_fixed_point(self):
        np.testing.assert_array_equal(to_digit(Image.fromarray(REFERENCE)), REFERENCE)

    @pytest.mark.parametrize("dark", [False, True])
    def test_as_a_jpeg_it_is_recognised(self, dark, digit_files):
        for path in digit_files:
            digit = np.asarray(Image.open(path))
            stream = io.BytesIO()
            Image.fromarray(255 - digit if dark else digit).save(stream, "JPEG", quality=90)
            assert mean_difference(digit, to_digit(Image.open(stream))) < 0.06

    def test_off_centre_28x28_is_centred(self):
        digit = mnist_like(5)
        moved = np.roll(digit, (3, 3), axis=(0, 1))
        assert normalise.as_mnist_form(Image.fromarray(moved)) is None

    def test_result_is_writable_and_its_own(self):
        source = Image.fromarray(mnist_like(1))
        to_digit(source)[:] = 0
        np.testing.assert_array_equal(np.asarray(source), mnist_like(1))


class TestForm:
    def test_shape_type_levels(self):
        assert REFERENCE.shape == (28, 28)
        assert REFERENCE.dtype == np.uint8
        assert REFERENCE.max() == 255
        assert REFERENCE[[0, -1]].max() == REFERENCE[:, [0, -1]].max() == 0

    @pytest.mark.parametrize("width", [2, 5, 10, 20, 34])
    def test_box_is_20_and_centre_of_mass_in_the_middle(self, width):
        digit = to_digit(drawing(width)).astype(float)
        rows, columns = np.flatnonzero(digit.sum(1)), np.flatnonzero(digit.sum(0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)
        assert abs(digit.sum(1) @ np.arange(28) / digit.sum() - 14) <= 0.52
        assert abs(digit.sum(0) @ np.arange(28) / digit.sum() - 14) <= 0.52

    def test_proportions_are_kept(self):
        one = Image.new("L", (100, 100), 255)
        ImageDraw.Draw(one).rectangle((48, 10, 55, 89), fill=0)
        assert np.flatnonzero(to_digit(one).max(axis=0) > 128).size <= 3

    @pytest.mark.parametrize("width", [1, 2, 3, 5, 10, 20, 30])
    def test_stroke_width_is_like_mnist(self, width):
        digit = to_digit(drawing(width, size=(440, 440), scale=2.0))
        assert 1.7 < normalise.stroke_width(digit / np.float32(255)) < 4.8


class TestLeavesTheDigitAlone:
    @settings(max_examples=15, deadline=None)
    @given(st.integers(-60, 60), st.integers(-30, 40))
    def test_shift(self, x, y):
        assert_near(REFERENCE, to_digit(drawing(shift=(x, y))))

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 400), st.integers(0, 400))
    def test_padding(self, right, below):
        assert_near(REFERENCE, to_digit(drawing(size=(220 + right, 220 + below))))

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 255), st.integers(0, 255))
    def test_brightness_contrast_and_polarity(self, ink_level, paper):
        if abs(ink_level - paper) >= 50:
            assert_near(REFERENCE, to_digit(drawing(ink_level=ink_level, paper=paper)))

    def test_inversion_is_exact(self):
        inverted = Image.fromarray(255 - np.asarray(drawing()))
        assert_near(REFERENCE, to_digit(inverted), 0.02)

    @settings(max_examples=15, deadline=None)
    @given(st.floats(0.4, 6))
    def test_scale(self, scale):
        side = round(220 * scale)
        assert_near(REFERENCE, to_digit(drawing(size=(side, side), scale=scale)), 0.25)

    @pytest.mark.parametrize("paper", [(1.0, 0.5), (0.4, 1.0)])
    def test_uneven_light(self, paper):
        light = np.linspace(*paper, 220)[None, :] * np.linspace(1, 0.8, 220)[:, None]
        shaded = (np.asarray(drawing(ink_level=40)) * light).astype(np.uint8)
        assert_near(REFERENCE, to_digit(Image.fromarray(shaded)))

    def test_grain(self):
        grain = np.random.default_rng(0).normal(0, 8, (220, 220))
        noisy = (np.asarray(drawing(ink_level=60, paper=200)) + grain).clip(0, 255).astype(np.uint8)
        assert_near(REFERENCE, to_digit(Image.fromarray(noisy)))

    def test_specks_and_edge_shadow(self):
        picture = drawing()
        draw = ImageDraw.Draw(picture)
        draw.point([(10, 10), (200, 15), (205, 210), (12, 190)], fill=0)
        draw.rectangle((0, 0, 5, 219), fill=90)
        assert_near(REFERENCE, to_digit(picture), 0.02)

    def test_soft_shadow_across_the_digit(self):
        x = np.linspace(0, 1, 220)
        shadow = 1 - 0.4 / (1 + np.exp(-(x - 0.55) * 30))
        shaded = (np.asarray(drawing(ink_level=40, paper=220)) * shadow).astype(np.uint8)
        assert_near(REFERENCE, to_digit(Image.fromarray(shaded)), 0.25)

    def test_faint_ruled_lines(self):
        page = np.asarray(drawing(ink_level=40, paper=220)).copy()
        page[::20] = np.minimum(page[::20], 185)
        assert_near(REFERENCE, to_digit(Image.fromarray(page)))

    def test_ruled_lines_in_the_rim_of_a_shadow(self):
        page = np.asarray(drawing(ink_level=45, paper=225, size=(450, 600), shift=(120, 190))).astype(float)
        page[60::85] = page[61::85] = np.minimum(page[60::85], 170)
        y, x = np.mgrid[:600, :450]
        shadow = 1 - 0.45 / (1 + np.exp(-(x + 0.4 * y - 450) / 30))
        assert_near(REFERENCE, to_digit(Image.fromarray((page * shadow).astype(np.uint8))), 0.25)

    def test_small_digit_on_a_page(self):
        assert_near(REFERENCE, to_digit(drawing(size=(700, 700), scale=0.3, shift=(500, 60))), 0.3)

    def test_overlapping_strokes_of_a_marker(self):
        picture = drawing(ink_level=120)
        ImageDraw.Draw(picture).rectangle((80, 60, 90, 75), fill=20)
        assert_near(REFERENCE, to_digit(picture), 0.25)

    def test_sheet_on_a_dark_table(self):
        table = Image.new("L", (300, 320), 40)
        table.paste(drawing(ink_level=60, paper=215), (40, 50))
        assert_near(REFERENCE, to_digit(table))


def with_alpha(level):
    """Black ink opaque, everything else transparent over a hidden colour."""
    alpha = Image.fromarray(255 - np.asarray(drawing()))
    hidden = Image.new("L", alpha.size, level)
    hidden.paste(0, mask=alpha)
    return Image.merge("LA", (hidden, alpha))


class TestModes:
    @pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV", "I", "F", "PA"])
    def test_every_mode_gives_the_same_digit(self, mode):
        assert_near(REFERENCE, to_digit(drawing().convert(mode)), 0.03)

    @pytest.mark.parametrize("mode", ["La", "RGBa", "RGBX", "LAB", "I;16", "I;16B", "I;16L"])
    def test_rare_modes_too(self, mode):
        through = {"La": "LA", "RGBa": "RGBA", "RGBX": "RGB"}.get(mode)
        if mode == "LAB":
            picture = Image.merge("LAB", [drawing(), *[Image.new("L", (220, 220), 128)] * 2])
        elif through:
            picture = drawing().convert(through).convert(mode)
        else:
            deep = np.asarray(drawing()).astype(">u2" if mode == "I;16B" else "<u2") * 257
            picture = Image.frombytes(mode, (220, 220), deep.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
        assert_near(REFERENCE, to_digit(picture), 0.03)

    @pytest.mark.parametrize(
        "scaled",
        [
            lambda a: a.astype(np.uint16) * 257,
            lambda a: a.astype(np.int32) * 257,
            lambda a: a.astype(np.float32) / 255,
            lambda a: a.astype(np.float32) / 127.5 - 1,
        ],
        ids=["I;16", "I to 65535", "F to 1", "F from -1"],
    )
    def test_ranges(self, scaled):
        assert_near(REFERENCE, to_digit(Image.fromarray(scaled(np.asarray(drawing())))), 0.03)

    def test_numbers_that_are_none(self):
        values = np.asarray(drawing()).astype(np.float32) / 255
        values[0, 0], values[1, 1] = np.nan, np.inf
        assert_near(REFERENCE, to_digit(Image.fromarray(values)), 0.03)

    @pytest.mark.parametrize("hidden", [0, 128, 255])
    @pytest.mark.parametrize("mode", ["LA", "RGBA"])
    def test_colours_under_transparency_do_not_matter(self, hidden, mode):
        assert_near(REFERENCE, to_digit(with_alpha(hidden).convert(mode)), 0.03)

    def test_white_ink_on_nothing(self):
        alpha = Image.fromarray(255 - np.asarray(drawing()))
        white = Image.merge("LA", (Image.new("L", alpha.size, 255), alpha))
        assert_near(REFERENCE, to_digit(white), 0.03)

    @pytest.mark.parametrize(
        ("colour", "paper"),
        [("yellow", "white"), ("red", "green"), ("blue", "black"), ("#ff4040", "#40a040"), ("#f0c0c0", "white")],
    )
    def test_coloured_ink(self, colour, paper):
        picture = Image.new("RGB", (220, 220), paper)
        picture.paste(colour, mask=Image.fromarray(255 - np.asarray(drawing())))
        assert_near(REFERENCE, to_digit(picture))

    def test_palette_with_a_transparent_colour(self, tmp_path):
        palette = drawing().convert("P")
        path = save(tmp_path, palette, transparency=palette.getpixel((0, 0)))
        assert_near(REFERENCE, read_digit(path), 0.03)

    def test_16_bit_png(self, tmp_path):
        path = save(tmp_path, Image.fromarray(np.asarray(drawing()).astype(np.uint16) * 257))
        assert_near(REFERENCE, read_digit(path), 0.03)


class TestAnything:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(1, 9))
    def test_gives_a_digit_or_says_blank(self, height, width, seed, share, block):
        rng = np.random.default_rng(seed)
        cells = rng.random((height, width)) < share
        noise = np.kron(cells, np.ones((block, block)))[:height, :width] * rng.integers(0, 256)
        try:
            digit = to_digit(Image.fromarray(noise.astype(np.uint8)))
        except PictureError as error:
            assert "blank" in str(error) or "noise" in str(error)  # noqa: PT017
        else:
            assert digit.shape == (28, 28)
            assert digit.max() == 255
