"""Any picture file -> the 28x28 digit that MNIST would have made of it.

This module opens files safely and brings every picture mode to grey. What is ink is decided in ink.py; how
ink becomes an MNIST image, in normalise.py. Nothing here knows about networks, and nothing imports torch.
"""

import stat
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from digitnet.config import IMAGE_SIZE
from digitnet.errors import BlankError, PictureError, printable
from digitnet.ink import cut_out, map_ink
from digitnet.normalise import as_mnist_form, draw_ink
from digitnet.several import holds_several

Digit = npt.NDArray[np.uint8]
Objection = Literal["blank", "several digits"]
Polarity = Literal["dark on light", "light on dark"]

_POLARITIES: tuple[Polarity, Polarity] = ("light on dark", "dark on light")  # by: is it dark on light?

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
_WORKING_SIDE = 400
_STRIP_PIXELS = 4_000_000

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


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What was found in a picture, and what was done to it."""

    polarity: Polarity
    """Which of ink and paper is darker."""
    orientation: int
    """The EXIF orientation that was undone, 1 to 8; 1 is upright."""
    mnist_form: bool
    """It had MNIST's form, and was left alone but for its polarity; then there is nothing more to say."""
    ink_box: tuple[int, int] | None = None
    """Width and height of the ink, in pixels of the file."""
    stroke: float | None = None
    """Mean width of the strokes, in pixels of 28x28, had only the size been changed."""
    drawn_stroke: float | None = None
    """The width that they were given."""
    lines: int = 0
    """Ruled lines taken away."""
    specks: int = 0
    """Specks and other parts left out."""


# One for each polarity, as bulk prediction meets little else.
_MNIST_STEPS = [Steps(polarity=polarity, orientation=1, mnist_form=True) for polarity in _POLARITIES]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A picture made ready for a network."""

    pixels: Digit
    """(28, 28) uint8, light ink on black, as MNIST would have made it; all black where there is no ink."""
    objection: Objection | None = None
    """Why the picture is no picture of one digit, as far as its ink tells."""
    steps: Steps | None = None
    """What was done; None where there is no ink."""


class _Opened(NamedTuple):
    picture: Image.Image
    size: tuple[int, int]
    """Of the file, turned upright."""
    orientation: int


def read_prepared(path: Path) -> Prepared:
    """Read a picture file and make it ready for a network.

    Raises:
        PictureError: The file cannot be read as a picture.
    """
    try:
        return read_written(path)
    except BlankError:
        return _blank()


def read_written(path: Path) -> Prepared:
    """Read a picture file, in which something must be written, and make it ready for a network.

    Raises:
        BlankError: It holds no ink.
        PictureError: The file cannot be read as a picture.
    """
    opened = _open(path)
    try:
        return _prepare(*opened)
    except BlankError as error:
        raise BlankError(f"{printable(path)}: {error}") from None


def read_digit(path: Path) -> Digit:
    """Read a picture file as an MNIST-like digit.

    Returns:
        (28, 28) uint8, light ink on black.

    Raises:
        PictureError: The file cannot be read as a picture, or holds no ink.
    """
    return read_written(path).pixels


def is_picture_name(path: Path) -> bool:
    """Say whether a folder's file is to be read, by its name; hidden ones, such as a Mac's ._photo.jpg, are not."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def to_digit(picture: Image.Image) -> Digit:
    """Make of a picture what MNIST would have made of it.

    A picture that already has MNIST's form comes back bit for bit, or inverted if it is dark on light.

    Returns:
        (28, 28) uint8, light ink on black.

    Raises:
        BlankError: No ink stands out from the paper.
    """
    return _prepare(picture, picture.size, 1).pixels


def prepare(picture: Image.Image) -> Prepared:
    """Make a picture, of any mode and size and turned upright, ready for a network."""
    try:
        return _prepare(picture, picture.size, 1)
    except BlankError:
        return _blank()


def _prepare(picture: Image.Image, size: tuple[int, int], orientation: int) -> Prepared:
    """Prepare a picture that was `size` (width, height) in its file; BlankError if there is no ink."""
    ready = as_mnist_form(picture)
    if ready is not None:
        pixels, inverted = ready
        steps = _MNIST_STEPS[inverted]
        return Prepared(pixels=pixels, steps=steps if orientation == 1 else replace(steps, orientation=orientation))
    small = reduce_to(picture, _WORKING_SIDE)
    found = map_ink(grey(small))
    drawn = draw_ink(cut_out(found, found.mask))
    steps = Steps(
        polarity=_POLARITIES[found.dark_on_light],
        orientation=orientation,
        mnist_form=False,
        ink_box=_ink_box(found.mask, max(size) / max(small.size)),
        stroke=drawn.stroke,
        drawn_stroke=drawn.drawn,
        lines=found.lines,
        specks=found.specks,
    )
    objection: Objection | None = "several digits" if holds_several(found.mask) else None
    return Prepared(pixels=drawn.pixels, objection=objection, steps=steps)


def _ink_box(mask: npt.NDArray[np.bool_], scale: float) -> tuple[int, int]:
    """Measure the ink's width and height, times `scale`."""
    across, down = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return round((int(across[-1]) - int(across[0]) + 1) * scale), round((int(down[-1]) - int(down[0]) + 1) * scale)


def _blank() -> Prepared:
    return Prepared(pixels=np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8), objection="blank")


def read_picture(path: Path) -> Image.Image:
    """Open and decode a picture file: first frame, upright by its EXIF tag, a large one reduced.

    Returns:
        A loaded picture, independent of its file. One with a side over 2048 pixels comes back smaller.

    Raises:
        PictureError: Missing, not a file, not a picture, damaged, too large or not permitted.
    """
    return _open(path).picture


def read_sized(path: Path) -> tuple[Image.Image, tuple[int, int]]:
    """Read a picture file as ``read_picture`` does, and say how wide and high it is in the file, once upright."""
    opened = _open(path)
    return opened.picture, opened.size


def _open(path: Path) -> _Opened:
    try:
        _check_file(path)
        with warnings.catch_warnings():
            # What Pillow warns of is either checked here (size) or harmless (odd metadata).
            warnings.filterwarnings("ignore", module=r"PIL\.")
            return _decode(path)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"{printable(path)} is not a picture that digitnet can read ({_FORMAT_NAMES})") from None
    except OSError as error:
        reason = error.strerror or "the picture is damaged or cut short"
        raise PictureError(f"cannot read {printable(path)}: {reason}") from None
    except Exception:  # a decoder fed damaged bytes may raise anything
        raise PictureError(f"cannot read {printable(path)}: the picture is damaged or cut short") from None


def _check_file(path: Path) -> None:
    """Refuse what is no ordinary file before opening it: a named pipe would wait for ever."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise PictureError(f"{printable(path)} is a folder that holds no pictures ({_FORMAT_NAMES})")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError(f"{printable(path)} is not an ordinary file")
    if status.st_size == 0:
        raise PictureError(f"{printable(path)} is empty (0 bytes)")


def _decode(path: Path) -> _Opened:
    """Open, check the size, decode reduced, turn upright."""
    try:
        picture = Image.open(path, formats=_FORMATS)
    except Image.DecompressionBombError:
        raise _too_large(path, _stated_size(path), MAX_MEGAPIXELS) from None
    with picture:
        kind = f"progressive {picture.mode}" if "progressive" in picture.info else picture.format or ""
        limit = _MAX_MEGAPIXELS_OF.get(kind, MAX_MEGAPIXELS)
        if picture.width * picture.height > limit * 1_000_000:
            raise _too_large(path, picture.size, limit)
        size = picture.size
        if picture.format != "PNG":
            picture.draft(None, (_LONGEST_SIDE, _LONGEST_SIDE))  # a JPEG is decoded at 1/2, 1/4 or 1/8
        picture.load()
        orientation = _orientation_of(picture)
        small = reduce_to(picture, _LONGEST_SIDE)
    if orientation == 1:
        return _Opened(small, size, 1)
    return _Opened(small.transpose(_UPRIGHT[orientation]), size[::-1] if orientation >= 5 else size, orientation)


def upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF tag says; ``read_picture`` has done so already."""
    orientation = _orientation_of(picture)
    return picture if orientation == 1 else picture.transpose(_UPRIGHT[orientation])


def _orientation_of(picture: Image.Image) -> int:
    """Read a picture's EXIF orientation, 1 to 8; 1, upright, if it has none or one that means nothing."""
    if not picture.info and picture.format != "TIFF":
        return 1  # no metadata; asking for EXIF would cost as much as decoding an MNIST image
    with suppress(Exception):  # damaged EXIF must not make a good picture unreadable
        orientation = picture.getexif().get(_ORIENTATION_TAG, 1)
        return orientation if orientation in _UPRIGHT else 1
    return 1


def _stated_size(path: Path) -> tuple[int, int]:
    """Read width and height from the header of a file that Image.open refuses for its size."""
    with path.open("rb") as stream:
        prefix = stream.read(16)
        kind = next(k for k in _FORMATS if (accept := Image.OPEN[k][1]) is None or accept(prefix))
        stream.seek(0)
        return Image.OPEN[kind][0](stream, str(path)).size


def _too_large(path: Path, size: tuple[int, int], limit: int) -> PictureError:
    stated = f"{size[0]} x {size[1]} pixels, the limit is {limit} million pixels"
    return PictureError(f"{printable(path)} is too large: {stated}")


def reduce_to(picture: Image.Image, side: int) -> Image.Image:
    """Average whole blocks of pixels until the longer side is below twice `side`.

    It works in strips, so that a full copy in another mode is never in memory.

    Returns:
        A picture in mode L, RGB, RGBA or F.
    """
    factor = max(picture.size) // side
    if factor <= 1:
        return _plain(picture)
    width, height = picture.size
    rows = max(1, _STRIP_PIXELS // width // factor) * factor
    strips = [
        _plain(picture.crop((0, top, width, min(top + rows, height)))).reduce(factor) for top in range(0, height, rows)
    ]
    small = Image.new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips)))
    for index, strip in enumerate(strips):
        small.paste(strip, (0, index * strips[0].height))
    return small


def _plain(picture: Image.Image) -> Image.Image:
    """Convert any mode to one whose pixels can be averaged: L, RGB, RGBA or F."""
    if picture.mode.startswith(("I", "F")):
        return picture if picture.mode == "F" else picture.convert("I").convert("F")
    if picture.mode == "La":  # which Pillow converts to LA alone
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    if picture.mode in ("L", "RGB"):
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def grey(picture: Image.Image) -> npt.NDArray[np.float32]:
    """Bring a picture to grey.

    Args:
        picture: Mode L, RGB, RGBA or F.

    Returns:
        (height, width) float32 in [0, 1]. What is transparent lies over white, or over black if it would
        vanish there (white ink on nothing).
    """
    if picture.mode == "F":
        return _unit_range(np.asarray(picture, dtype=np.float32))
    if picture.mode == "RGBA":
        picture = _over_paper(picture)
    if picture.mode == "RGB":
        picture = _clearest_band(picture)
    return np.asarray(picture, dtype=np.float32) / np.float32(255)


def _over_paper(picture: Image.Image) -> Image.Image:
    """Lay an RGBA picture over white, or over black if nothing would show; returns RGB."""
    for paper in ("white", "black"):
        flat = Image.alpha_composite(Image.new("RGBA", picture.size, paper), picture).convert("RGB")
        if max(_contrast(band) for band in flat.split()) > 25:
            break
    return flat


def _clearest_band(picture: Image.Image) -> Image.Image:
    """Return the luminance of an RGB picture, or a colour if luminance hides the ink: yellow on white, say."""
    luminance = picture.convert("L")
    colour = max(picture.split(), key=_contrast)
    faint = _contrast(luminance) < 100
    return colour if faint and _contrast(colour) > 1.5 * _contrast(luminance) else luminance


def _contrast(band: Image.Image) -> int:
    darkest, lightest = band.getextrema()
    return int(lightest) - int(darkest)  # type: ignore[arg-type]  # a pair of numbers for a single band


def _unit_range(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Bring numbers of unknown range to [0, 1]: 1, 255 or 65535 is white, whichever fits first.

    Where some are negative no such habit is known: the lowest is black, the highest white.
    """
    values = np.nan_to_num(values, posinf=0, neginf=0)
    lowest, highest = float(values.min()), float(values.max())
    if lowest < 0:
        return (values - np.float32(lowest)) / np.float32(max(highest - lowest, 1e-6))
    white = next((limit for limit in (1, 255, 65535) if highest <= limit), highest)
    return values / np.float32(white)
