"""Every kind of picture file is read, upright and not too large, and what cannot be read says why."""

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
from PIL import Image
from test_pictures import REFERENCE, assert_near, drawing, save, with_alpha

from digitnet import modes
from digitnet.decoding import PICTURE_SUFFIXES, read_picture, walk_pictures
from digitnet.errors import PictureError
from digitnet.pictures import read_digit, to_digit
from digitnet.sources import Packed


class TestFiles:
    @pytest.mark.parametrize("suffix", sorted(PICTURE_SUFFIXES))
    def test_every_suffix(self, tmp_path, suffix):
        picture = drawing().convert("1") if suffix == ".pbm" else drawing()
        path = save(tmp_path, picture.convert("RGB") if suffix == ".webp" else picture, "five" + suffix)
        assert_near(REFERENCE, read_digit(path))
        packed = read_digit(Packed(path="five", data=path.read_bytes()))
        np.testing.assert_array_equal(packed, read_digit(path))

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation(self, tmp_path, orientation, suffix):
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
        opened = read_picture(save(tmp_path, stored, f"five.{suffix}", exif=exif, quality=95))
        assert opened.picture.size == opened.size == upright.size
        assert opened.orientation == orientation
        assert_near(to_digit(upright), to_digit(opened.picture), 0.03)

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
        read = read_picture(save(tmp_path, large, f"five.{suffix}")).picture
        assert max(read.size) < 2048
        assert_near(REFERENCE, to_digit(read))

    def test_strips_join_without_a_seam(self, monkeypatch):
        picture = with_alpha(0).convert("RGBA").resize((2200, 2203))
        whole = modes.reduce_to(picture, 100)
        monkeypatch.setattr(modes, "_STRIP_PIXELS", 100_000)
        np.testing.assert_array_equal(np.asarray(modes.reduce_to(picture, 100)), np.asarray(whole))

    def test_file_is_closed_and_may_be_deleted(self, tmp_path):
        path = save(tmp_path, drawing())
        picture = read_picture(path).picture
        path.unlink()
        assert_near(REFERENCE, to_digit(picture), 0.01)


def png_header(width, height):
    """A PNG that claims a size and holds no pixels."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT", b"IEND"]
    packed = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_folders_are_walked_in_order_however_deep_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deep = Path(*"d" * 1_200)  # deeper than Python lets functions call each other
    for _ in deep.parts:
        os.mkdir("d")  # noqa: PTH102 (one level at a time)
        os.chdir("d")
    Path("five.png").touch()
    os.chdir(tmp_path)
    for name in ("z.png", "a/b.png", "c/1.png", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = [Path("a/b.png"), Path("c/1.png"), Path("c.png"), deep / "five.png", Path("z.png")]
    found = list(walk_pictures(Path()))
    (deep / "five.png").unlink()
    os.removedirs(deep)  # which pytest, to make room some runs later, could not
    assert found == expected


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
