"""Any picture becomes the digit that MNIST would have made of it, and what cannot be read says why."""

import io
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from digitnet import components, ink, normalise, pictures
from digitnet.errors import PictureError
from digitnet.pictures import PICTURE_SUFFIXES, read_digit, read_picture, to_digit

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


class TestFiles:
    @pytest.mark.parametrize("suffix", sorted(PICTURE_SUFFIXES))
    def test_every_suffix(self, tmp_path, suffix):
        picture = drawing().convert("1") if suffix == ".pbm" else drawing()
        path = save(tmp_path, picture.convert("RGB") if suffix == ".webp" else picture, "five" + suffix)
        assert_near(REFERENCE, read_digit(path))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation(self, tmp_path, orientation):
        turned = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }
        upright = drawing(size=(220, 240))
        stored = upright.transpose(turned[orientation]) if orientation in turned else upright
        exif = Image.Exif()
        exif[0x0112] = orientation
        read = read_picture(save(tmp_path, stored, "five.jpg", exif=exif, quality=95))
        assert read.size == upright.size
        assert_near(to_digit(upright), to_digit(read), 0.03)

    def test_damaged_exif_is_ignored(self, tmp_path):
        path = save(tmp_path, drawing(), "five.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff rubbish", quality=95)
        assert_near(REFERENCE, read_digit(path), 0.03)

    @pytest.mark.parametrize("suffix", ["gif", "tif"])
    def test_first_frame(self, tmp_path, suffix):
        second = Image.new("L", (220, 220), 255)
        path = save(tmp_path, drawing(), f"five.{suffix}", save_all=True, append_images=[second])
        assert_near(REFERENCE, read_digit(path), 0.03)

    @pytest.mark.parametrize("suffix", ["jpg", "png"])
    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_large_photo_is_reduced(self, tmp_path, suffix, mode):
        large = drawing(size=(2640, 2200), scale=9.0).convert(mode)
        read = read_picture(save(tmp_path, large, f"five.{suffix}"))
        assert max(read.size) < 2048
        assert_near(REFERENCE, to_digit(read))

    def test_strips_join_without_a_seam(self, monkeypatch):
        picture = with_alpha(0).convert("RGBA").resize((2200, 2203))
        whole = pictures.reduce_to(picture, 100)
        monkeypatch.setattr(pictures, "_STRIP_PIXELS", 100_000)
        np.testing.assert_array_equal(np.asarray(pictures.reduce_to(picture, 100)), np.asarray(whole))

    def test_file_is_closed_and_may_be_deleted(self, tmp_path):
        path = save(tmp_path, drawing())
        picture = read_picture(path)
        path.unlink()
        assert_near(REFERENCE, to_digit(picture), 0.01)


def png_header(width, height):
    """A PNG that claims a size and holds no pixels."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT", b"IEND"]
    packed = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


class TestErrors:
    def message(self, path):
        with pytest.raises(PictureError) as caught:
            read_digit(path)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 3
        return str(caught.value)

    def test_missing(self, tmp_path):
        assert self.message(tmp_path / "five.png") == f"cannot read {tmp_path}/five.png: No such file or directory"

    def test_folder(self, tmp_path):
        assert (
            self.message(tmp_path)
            == f"{tmp_path} is a folder that holds no pictures (PNG, JPEG, BMP, GIF, TIFF, WebP or PNM)"
        )

    def test_empty(self, tmp_path):
        (tmp_path / "five.png").touch()
        assert "five.png is empty" in self.message(tmp_path / "five.png")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_named_pipe_does_not_hang(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        assert "not an ordinary file" in self.message(tmp_path / "pipe.png")

    @pytest.mark.parametrize("content", [b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\0" * 99])
    def test_not_a_picture(self, tmp_path, content):
        (tmp_path / "five.png").write_bytes(content)
        assert "five.png is not a picture that digitnet can read (PNG, JPEG" in self.message(tmp_path / "five.png")

    @pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tif", "webp", "ppm"])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
    def test_cut_short(self, tmp_path, suffix, share):
        noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)
        path = save(tmp_path, Image.fromarray(noise), f"five.{suffix}")
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        assert f"five.{suffix}" in self.message(path)

    @settings(max_examples=40, deadline=None)
    @given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"]), st.data())
    def test_damaged_bytes_give_a_digit_or_a_picture_error(self, tmp_path_factory, kind, data):
        stream = io.BytesIO()
        drawing().convert("RGB").resize((40, 40)).save(stream, kind)
        content = bytearray(stream.getvalue())
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
            content[place] = data.draw(st.integers(0, 255))
        path = tmp_path_factory.mktemp("damaged") / "five"
        path.write_bytes(content)
        with suppress(PictureError):  # anything else is a bug
            assert read_digit(path).shape == (28, 28)

    @pytest.mark.parametrize("size", [(10_000, 9_500), (11_000, 10_000), (60_000, 60_000)])
    def test_too_large_is_refused_from_the_header(self, tmp_path, size):
        path = tmp_path / "five.png"
        path.write_bytes(png_header(*size))
        message = self.message(path)
        if size[0] * size[1] > 100_000_000:
            assert f"too large: {size[0]} x {size[1]} pixels, the limit is 100 million pixels" in message
        else:
            assert "damaged or cut short" in message

    @pytest.mark.parametrize("level", [0, 128, 255])
    @pytest.mark.parametrize("size", [(28, 28), (1, 1), (300, 200)])
    def test_blank(self, tmp_path, level, size):
        message = self.message(save(tmp_path, Image.new("L", size, level), "blank.png"))
        assert "blank.png: the picture is blank" in message

    def test_blank_paper_with_grain_and_shadow(self, tmp_path):
        grain = np.random.default_rng(1).normal(0, 3, (400, 400)) + np.linspace(230, 120, 400)
        assert "is blank" in self.message(save(tmp_path, Image.fromarray(grain.astype(np.uint8))))

    def test_fully_transparent_is_blank(self, tmp_path):
        assert "is blank" in self.message(save(tmp_path, Image.new("RGBA", (50, 50), (9, 9, 9, 0))))

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
    def test_permission(self, tmp_path):
        path = save(tmp_path, drawing())
        path.chmod(0)
        assert "Permission denied" in self.message(path)

    def test_permission_as_the_system_reports_it(self, tmp_path, monkeypatch):
        def refuse(*_args, **_options):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Image, "open", refuse)
        assert "five.png: Permission denied" in self.message(save(tmp_path, drawing()))

    def test_terminal_escapes_in_names_are_shown_not_sent(self):
        assert self.message(Path("\x1b[31mred\udc80.png")).startswith("cannot read \\x1b[31mred\\udc80.png: ")


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
            assert "blank" in str(error)  # noqa: PT017
        else:
            assert digit.shape == (28, 28)
            assert digit.max() == 255


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
        assert not ink.is_dark_on_light(grey)
        assert ink.is_dark_on_light(1 - grey)

    def test_bold_digit_is_no_sheet(self):
        zero = Image.new("L", (200, 200), 0)
        ImageDraw.Draw(zero).ellipse((10, 5, 190, 195), outline=255, width=60)
        grey = np.asarray(zero, dtype=np.float32) / 255
        assert ink.sheet_of(grey) == (slice(0, 200), slice(0, 200))

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
