"""What a large picture costs: memory, in a process of its own; and bombs, which are refused by name."""

import io
import sys

import numpy as np
import pytest
from conftest import run_python
from PIL import Image

from digitnet.errors import PictureError
from digitnet.pictures import read_prepared

PEAK = """
import sys
from pathlib import Path
from digitnet.pictures import read_prepared
prepared = read_prepared(Path(sys.argv[1]))
assert prepared.objection is None and prepared.steps.ink_box[1] > 1000, prepared.steps
status = Path("/proc/self/status").read_text()  # getrusage counts the parent's peak, too
print(int(status.partition("VmHWM:")[2].split()[0]) / 1_000)
"""


def page(mode, width=5_000, height=4_000):
    """A long 1 on white."""
    picture = Image.new("L", (width, height), 235)
    picture.paste(30, (width // 2, height // 4, width // 2 + width // 50, 3 * height // 4))
    return Image.fromarray(np.asarray(picture).astype(np.uint16) * 257) if mode == "I;16" else picture.convert(mode)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("name", "mode", "options", "least_mb"),
    [
        ("rgb.png", "RGB", {"compress_level": 1}, 60),
        ("rgba.png", "RGBA", {"compress_level": 1}, 80),
        ("deep.png", "I;16", {"compress_level": 1}, 40),
        ("baseline.jpg", "RGB", {}, 0),
        ("progressive.jpg", "RGB", {"progressive": True, "subsampling": 0}, 120),
        ("cmyk.jpg", "CMYK", {"progressive": True}, 160),
        ("strips.tif", "RGB", {"compression": "tiff_lzw"}, 60),
        ("page.bmp", "RGB", {}, 60),
        ("page.webp", "RGB", {"quality": 20, "method": 0}, 200),
    ],
)
def test_twenty_megapixels_take_little_beside_themselves(tmp_path, name, mode, options, least_mb):
    page(mode).save(tmp_path / name, **options)
    done = run_python("-c", PEAK, tmp_path / name)
    assert done.returncode == 0, done.stderr
    # What the decoder holds, which grows with the picture up to each format's limit; and the rest, which does not.
    assert float(done.stdout) < 1.3 * least_mb + 110


def test_a_format_that_holds_more_has_a_lower_limit(tmp_path):
    for name, mode, options, size in (
        ("bomb.webp", "RGB", {"method": 0, "quality": 1}, (7_000, 5_000)),
        ("bomb.jpg", "CMYK", {"progressive": True, "quality": 5}, (8_000, 7_000)),
    ):
        stream = io.BytesIO()
        Image.new(mode, size).save(stream, name[-4:].strip(".").replace("jpg", "jpeg"), **options)
        (tmp_path / name).write_bytes(stream.getvalue())
        with pytest.raises(PictureError, match=rf"{name} is too large: {size[0]} x {size[1]} pixels, the limit is "):
            read_prepared(tmp_path / name)
