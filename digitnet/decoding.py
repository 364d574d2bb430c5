"""Pictures, safely opened: nothing that is no picture, none too large for the memory, each turned upright."""

import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from digitnet.bombs import BoundedReader, hidden_cost, silence_decoders, unseen_cost
from digitnet.errors import PictureError, printable
from digitnet.modes import reduce_to
from digitnet.sources import Packed, Source, named, open_source

PICTURE_SUFFIXES: frozenset[str] = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm"}
)
MAX_MEGAPIXELS = 100
"""Larger pictures are refused from their header: decoded, 100 megapixels already take 400 MB."""

# PNG first: a format is recognised by trying these in turn.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
# Decoders that hold much more than the picture: WebP three copies of it, progressive JPEG all coefficients.
_MAX_MEGAPIXELS_OF = {"WEBP": 30, "progressive RGB": 75, "progressive CMYK": 50}
_FORMAT_NAMES = "PNG, JPEG, BMP, GIF, TIFF, WebP or PNM"
_LONGEST_SIDE = 1024  # keeps large photos quick and small in memory; no digit needs more

_MAX_EXIF = 65_536  # bytes, as in JPEG; of more, each of its thousands of entries could be as long as the whole

# EXIF tag 0x0112, "Orientation", and how to undo each value. Source: CIPA DC-008 (Exif 2.32), section 4.6.4.
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Opened(NamedTuple):
    """A picture that was read."""

    picture: Image.Image
    """Loaded and upright, independent of its file; one with a side over 2048 pixels comes back smaller."""
    size: tuple[int, int]
    """Width and height in the file, turned upright."""
    orientation: int
    """The EXIF orientation that was undone, 1 to 8; 1 is upright."""


def is_picture_name(path: Path | str) -> bool:
    """Say whether a folder's file is to be read, by its name; hidden ones, such as a Mac's ._photo.jpg, are not."""
    name = os.path.basename(path)  # noqa: PTH119 (a shard's members have names, but no paths, which would take longer)
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES and not name.startswith(".")  # noqa: PTH122


def walk_pictures(folder: Path) -> Iterator[Path]:
    """List the pictures in a folder and its sub-folders, in the order of the names, but what we may not read."""
    return walk_files(folder, is_picture_name)


def walk_files(folder: Path, wanted: Callable[[Path], bool]) -> Iterator[Path]:
    """List the files in a folder and its sub-folders that are wanted, as ``walk_pictures`` does."""
    waiting = [_paths_in(folder)]  # a list, and not a function within itself, which Python lets go only so deep
    while waiting:
        if (path := next(waiting[-1], None)) is None:
            waiting.pop()
        elif os.path.isdir(path):  # noqa: PTH112 (Path.is_dir fails where a folder may be listed but not entered)
            if not os.path.islink(path):  # noqa: PTH114  # which could lead round in a circle
                waiting.append(_paths_in(path))
        elif wanted(path):
            yield path


def _paths_in(folder: Path) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 (names alone: a million of them take little memory)
    except OSError:
        names = []
    return (folder / name for name in names)


def read_picture(source: Source) -> Opened:
    """Open and decode a picture: first frame, upright by its EXIF tag, a large one reduced.

    Raises:
        PictureError: Missing, not a file, not a picture, damaged, too large or not permitted.
    """
    try:
        _check(source)
        with warnings.catch_warnings():
            # What Pillow warns of is either checked here (size) or harmless (odd metadata).
            warnings.filterwarnings("ignore", module=r"PIL\.")
            return _decode(source)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"{named(source)} is not a picture that digitnet can read ({_FORMAT_NAMES})") from None
    except OSError as error:
        reason = error.strerror or "the picture is damaged or cut short"
        raise PictureError(f"cannot read {named(source)}: {reason}") from None
    except Exception:  # a decoder fed damaged bytes may raise anything
        raise PictureError(f"cannot read {named(source)}: the picture is damaged or cut short") from None


def _check(source: Source) -> None:
    """Refuse, before it is opened, what cannot be a picture or is not even to be opened."""
    size = len(source.data) if isinstance(source, Packed) else _size_of_file(source)
    if size == 0:
        raise PictureError(f"{named(source)} is empty (0 bytes)")
    if fault := unseen_cost(source):
        raise PictureError(f"{named(source)} {fault}")


def _size_of_file(path: Path) -> int:
    """Refuse what is no ordinary file: a named pipe would wait for ever."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise PictureError(f"{printable(path)} is a folder that holds no pictures ({_FORMAT_NAMES})")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError(f"{printable(path)} is not an ordinary file")
    return status.st_size


def _decode(source: Source) -> Opened:
    """Open, check the size, decode reduced, turn upright."""
    silence_decoders()
    with BoundedReader(source) as stream:
        try:
            picture = Image.open(stream, formats=_FORMATS)
        except Image.DecompressionBombError:
            raise _too_large(source, _stated_size(source), MAX_MEGAPIXELS) from None
        with picture:
            _check_cost(source, picture)
            size = picture.size
            is_turned = picture.format == "TIFF"  # by Pillow, as it loads
            if is_turned:
                orientation = _orientation_of(picture)  # which Pillow then forgets
            if picture.format != "PNG":
                picture.draft(None, (_LONGEST_SIDE, _LONGEST_SIDE))  # a JPEG is decoded at 1/2, 1/4 or 1/8
            picture.load()
            if not is_turned:
                orientation = _orientation_of(picture)  # some formats keep it behind the pixels
            small = reduce_to(picture, _LONGEST_SIDE)
    if orientation == 1 or is_turned:
        return Opened(small, size, orientation)
    return Opened(small.transpose(_UPRIGHT[orientation]), size[::-1] if orientation >= 5 else size, orientation)


def _check_cost(source: Source, picture: Image.Image) -> None:
    """Refuse, before it is decoded, a picture that is too large for the memory or would take too long."""
    kind = f"progressive {picture.mode}" if "progressive" in picture.info else picture.format or ""
    limit = _MAX_MEGAPIXELS_OF.get(kind, MAX_MEGAPIXELS)
    if picture.width * picture.height > limit * 1_000_000:
        raise _too_large(source, picture.size, limit)
    if fault := hidden_cost(source, picture):
        raise PictureError(f"{named(source)} {fault}")


def upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF tag says; ``read_picture`` has done so already."""
    orientation = _orientation_of(picture)
    return picture if orientation == 1 else picture.transpose(_UPRIGHT[orientation])


def _orientation_of(picture: Image.Image) -> int:
    """Read a picture's EXIF orientation, 1 to 8; 1, upright, if it has none or one that means nothing."""
    if not picture.info and picture.format != "TIFF":
        return 1  # no metadata; asking for EXIF would cost as much as decoding an MNIST image
    if len(picture.info.get("exif", b"")) > _MAX_EXIF:
        return 1
    with suppress(Exception):  # damaged EXIF must not make a good picture unreadable
        orientation = picture.getexif().get(_ORIENTATION_TAG, 1)
        return orientation if orientation in _UPRIGHT else 1
    return 1


def _stated_size(source: Source) -> tuple[int, int]:
    """Read width and height from the header of a picture that Image.open refuses for its size."""
    with open_source(source) as stream:
        prefix = stream.read(16)
        kind = next(k for k in _FORMATS if (accept := Image.OPEN[k][1]) is None or accept(prefix))
        stream.seek(0)
        return Image.OPEN[kind][0](stream, named(source)).size


def _too_large(source: Source, size: tuple[int, int], limit: int) -> PictureError:
    stated = f"{size[0]} x {size[1]} pixels, the limit is {limit} million pixels"
    return PictureError(f"{named(source)} is too large: {stated}")
