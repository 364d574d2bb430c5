"""Picture files that would cost far more time or memory than they show, found out before they are decoded."""

import ctypes
import io
import logging
import re
from contextlib import suppress
from functools import cache

from PIL import Image

from digitnet.sources import Source, all_bytes, open_source, size_of

MAX_BYTES = 500_000_000
MAX_READS = 200_000  # of a header or a list of parts; a whole picture of 100 megapixels takes a third of them
MAX_SIDE = 65_535  # pixels, as in JPEG; Pillow keeps 8 bytes for each row, beside the pixels
MAX_TEXT_BYTES = 10_000_000  # of a PNM whose numbers are written out: 2 s
MAX_PROFILES = 16  # ICC profiles in a PNG, each of which unpacks to a megabyte
MAX_SCANNED = 1_000_000_000  # pixels that a JPEG draws, counted again in each of its scans
MAX_MARKERS = 10_000  # in a JPEG, where even hundreds are odd
LARGE_TILE = 4_000_000  # pixels that a tile of a TIFF may have, if the picture has fewer

# A JPEG's marker between scans; 0xff before 0, a restart or another 0xff is none.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_WITHOUT_LENGTH = {0x01, 0xD8, *range(0xD0, 0xD8)}


class BoundedReader(io.BufferedReader):
    """A picture's file or bytes, given up after so many reads: headers of millions of parts would take minutes."""

    def __init__(self, source: Source) -> None:
        super().__init__(open_source(source))
        self._left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file does.

        Raises:
            OSError: It was read too often.
        """
        self._left -= 1
        if self._left < 0:
            raise OSError("too many parts")
        return super().read(size)


def unseen_cost(source: Source) -> str | None:
    """Say why a picture is not even to be opened, in words that go after its name; None if it may be."""
    size = size_of(source)
    if size > MAX_BYTES:
        return f"is too large: {size:,} bytes, the limit is {MAX_BYTES:,}"
    if size > MAX_PROFILES * 1_000 and _count_profiles(source) > MAX_PROFILES:
        return f"holds more than {MAX_PROFILES} colour profiles, of which a PNG has one"
    return None


def hidden_cost(source: Source, picture: Image.Image) -> str | None:
    """Say why an opened picture is not to be decoded, as ``unseen_cost`` does."""
    if max(picture.size) > MAX_SIDE:
        return f"is too large: {picture.width} x {picture.height} pixels, the limit is {MAX_SIDE:,} for a side"
    if picture.format == "TIFF" and _tile_pixels(picture) > max(LARGE_TILE, 2 * picture.width * picture.height):
        return "states tiles that are far larger than the picture"
    if picture.format == "PPM" and size_of(source) > MAX_TEXT_BYTES and _holds_text(source):
        return f"has its pixels written out as numbers, of which {MAX_TEXT_BYTES:,} bytes are the limit; save it as PNG"
    if picture.format in ("JPEG", "MPO") and _is_redrawn(source, picture):
        return "draws its pixels over and over again"
    return None


@cache
def silence_decoders() -> None:
    """Keep Pillow's log and libtiff from writing to stderr what they dislike: an error says enough."""
    from PIL import _imaging

    logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Python writes what nobody handles to stderr
    with suppress(AttributeError, OSError):  # where libtiff is built in, as on Windows, its functions have no names
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def count_scans(source: Source) -> int:
    """Count how often a JPEG begins to draw: once, some ten times if progressive; 10,000 if its parts never end."""
    with all_bytes(source) as data:
        place, scans = 0, 0
        for _ in range(MAX_MARKERS):
            if (found := _MARKER.search(data, place)) is None:
                break
            kind, place = data[found.start() + 1], found.end()
            if kind == _END_OF_IMAGE:
                break
            scans += kind == _START_OF_SCAN
            if kind not in _WITHOUT_LENGTH:
                place += int.from_bytes(data[place : place + 2], "big")
        else:
            return MAX_MARKERS
        return scans


def _is_redrawn(source: Source, picture: Image.Image) -> bool:
    scans = count_scans(source)
    return scans == MAX_MARKERS or scans * picture.width * picture.height > MAX_SCANNED


def _count_profiles(source: Source) -> int:
    """Count the ICC profiles of a PNG, as far as any are in it; 0 for other formats."""
    with BoundedReader(source) as stream:
        if stream.read(8) != b"\x89PNG\r\n\x1a\n":
            return 0
        profiles = 0
        while len(head := stream.read(8)) == 8 and profiles <= MAX_PROFILES:
            profiles += head[4:] == b"iCCP"
            stream.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)
        return profiles


def _tile_pixels(picture: Image.Image) -> int:
    tags = picture.tag_v2  # type: ignore[attr-defined]  # a TIFF's
    return int(tags.get(322, 0)) * int(tags.get(323, 0))  # TIFF 6.0, section 15: TileWidth and TileLength


def _holds_text(source: Source) -> bool:
    with open_source(source) as stream:
        return stream.read(2) in (b"P1", b"P2", b"P3")
