"""Picture files that cost far more than they show are refused before they are decoded, and decoders keep quiet."""

import io
import os
import struct
import sys
import time
import zlib

import pytest
from conftest import run_python
from PIL import Image
from test_pictures import drawing

from digitnet import bombs
from digitnet.bombs import count_scans
from digitnet.decoding import read_picture
from digitnet.errors import PictureError
from digitnet.sources import Packed


def saved(kind, picture=None, **options):
    stream = io.BytesIO()
    (picture or Image.new("L", (40, 40), 200)).save(stream, kind, **options)
    return stream.getvalue()


def png_with(chunk, times):
    """A PNG with a chunk, kind and content, so many times after its header."""
    packed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = saved("PNG")
    return data[:33] + packed * times + data[33:]


def tiled_tiff(side):
    """A TIFF of 64 x 64 pixels in one tile, of which little is there."""
    tags = [
        (256, 64),
        (257, 64),
        (258, 8),
        (259, 5),
        (262, 1),
        (277, 1),
        (322, side),
        (323, side),
        (324, 8),
        (325, 1000),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 1008) + b"\x80" * 1000 + struct.pack("<H", len(tags)) + entries + bytes(4)


def redrawn(scans, **options):
    """A progressive JPEG of 10 megapixels whose last scan comes so many times more."""
    data = saved("JPEG", Image.new("L", (4_000, 2_500), 200), progressive=True, **options)
    return data[:-2] + data[data.rfind(b"\xff\xda") : -2] * scans + data[-2:]


def refusal(tmp_path, data):
    path = tmp_path / "five"
    path.write_bytes(data)
    said = []
    for source in (path, Packed(path=str(path), data=data)):
        started = time.perf_counter()
        with pytest.raises(PictureError, match="five") as raised:
            read_picture(source)
        assert time.perf_counter() - started < 5
        said.append(str(raised.value))
    assert said[0] == said[1]
    return said[0]


GIF_HEAD = 13 + 3 * (2 << (saved("GIF")[10] & 7))  # header, screen and colours of a GIF


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda: png_with(b"abCD", 400_000), "damaged", id="png of chunks"),
        pytest.param(lambda: saved("JPEG")[:2] + b"\xff" * 2_000_000 + saved("JPEG")[2:], "damaged", id="jpeg padded"),
        pytest.param(lambda: saved("GIF")[:GIF_HEAD] + b"!\xfe\0" * 2_000_000 + saved("GIF")[GIF_HEAD:], "damaged",
                     id="gif of extensions"),
        pytest.param(lambda: b"P5\n#" + b"a" * 2_000_000 + b"\n40 40 255\n" + bytes(1600), "damaged", id="pgm comment"),
        pytest.param(lambda: png_with(b"iCCPname\0\0" + zlib.compress(bytes(1_000_000)), 17),
                     "holds more than 16 colour profiles", id="png of profiles"),
        pytest.param(lambda: saved("PNG", Image.new("L", (1, 65_536))), "1 x 65536 pixels, the limit is 65,535",
                     id="png of rows"),
        pytest.param(lambda: redrawn(200), "draws its pixels over and over again", id="jpeg of scans"),
        pytest.param(lambda: tiled_tiff(25_000), "states tiles that are far larger than the picture", id="tiff tile"),
        pytest.param(lambda: b"P2\n2000 2000\n255\n" + b"255 " * 4_000_000, "written out as numbers", id="plain pgm"),
    ],
)  # fmt: skip
def test_a_bomb_is_refused_at_once(tmp_path, make, reason):
    assert reason in refusal(tmp_path, make())


def test_a_file_beyond_any_picture_is_refused_by_its_size(tmp_path):
    path = tmp_path / "five.png"
    path.touch()
    os.truncate(path, bombs.MAX_BYTES + 1)  # which takes no place on the disk
    with pytest.raises(PictureError, match="is too large: 500,000,001 bytes, the limit is 500,000,000"):
        read_picture(path)


@pytest.mark.parametrize(
    ("data", "scans"),
    [
        (saved("JPEG"), 1),
        (saved("JPEG", drawing().convert("RGB"), progressive=True), 10),
        (saved("JPEG") + b"\xff\xda" * 300, 1),  # a phone's film behind the photo
        (saved("JPEG", exif=b"Exif\0\0" + b"\xff\xda" * 300), 1),  # a preview in front of it
        (saved("JPEG", restart_marker_rows=1), 1),
    ],
    ids=["baseline", "progressive", "film", "preview", "restarts"],
)
def test_a_picture_s_own_scans_alone_are_counted(tmp_path, data, scans):
    (tmp_path / "five.jpg").write_bytes(data)
    assert count_scans(tmp_path / "five.jpg") == scans
    assert read_picture(tmp_path / "five.jpg").orientation == 1


def test_markers_without_end_are_not_all_counted(tmp_path):
    (tmp_path / "five.jpg").write_bytes(saved("JPEG")[:-2] + b"\xff\x01" * 20_000)
    assert count_scans(tmp_path / "five.jpg") == bombs.MAX_MARKERS


def test_exif_longer_than_a_jpeg_may_have_is_not_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x9286] = 6, b"x" * 70_000
    (tmp_path / "five.png").write_bytes(saved("PNG", exif=exif))
    assert read_picture(tmp_path / "five.png").orientation == 1


QUIET = """
import sys
from pathlib import Path
from digitnet.decoding import read_picture
for name in sys.argv[1:]:
    try:
        read_picture(Path(name))
    except Exception as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="libtiff is built into Pillow, and has no handler to set")
def test_libraries_do_not_write_to_stderr(tmp_path):
    (tmp_path / "tile.tif").write_bytes(tiled_tiff(1_000))  # libtiff has something to say of it
    many = bytearray(tiled_tiff(64))
    place = many.index(struct.pack("<HHII", 277, 4, 1, 1))
    many[place + 8 : place + 12] = struct.pack("<I", 300)  # samples per pixel, which Pillow logs
    (tmp_path / "samples.tif").write_bytes(many)
    done = run_python("-c", QUIET, tmp_path / "tile.tif", tmp_path / "samples.tif")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 2
