"""From a map of ink to an MNIST image: stroke width, size and centre, as MNIST was made.

MNIST scales a digit's box to 20 pixels on its longer side, keeps its proportions, and puts its centre of mass
at the middle of 28x28. Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from digitnet.components import extent
from digitnet.config import IMAGE_SIZE

Grey = npt.NDArray[np.float32]
Digit = npt.NDArray[np.uint8]

_SIDE = IMAGE_SIZE
_BOX = 20
_INDEX = np.arange(_SIDE, dtype=np.int64)
_FINE = 4  # strokes are measured and mended on a canvas this many times finer than the result
_JPEG_NOISE = 32  # of 255: what a JPEG, of quality 75 even, rarely adds to the black beside a stroke
_SMOOTHING = 0.6  # of a pixel of the picture, where it is enlarged
_STROKE_RANGE = (2.6, 3.3)  # pixels in 28x28, as stroke_width measures: the middle half of MNIST's training images


def as_mnist_form(picture: Image.Image) -> tuple[Digit, bool] | None:
    """Return a picture that already is an MNIST image, untouched but for a JPEG's noise, or None.

    All 60,000 MNIST training images have a box of 19 or 20 pixels and their centre of mass within half a
    pixel of (14, 14), which hardly any other picture has. Dark on light is inverted.

    Returns:
        (28, 28) uint8, light on black, and whether it was dark on light; None if there is anything left to do.
    """
    if picture.size != (_SIDE, _SIDE) or picture.mode not in ("L", "RGB"):
        return None
    pixels = np.asarray(picture)
    if pixels.ndim == 3:
        if (pixels != pixels[:, :, :1]).any():
            return None
        pixels = np.ascontiguousarray(pixels[:, :, 0])
    corners = int(pixels[0, 0]) + int(pixels[0, -1]) + int(pixels[-1, 0]) + int(pixels[-1, -1])
    inverted = corners >= 2 * 255
    if inverted:
        pixels = 255 - pixels
    if picture.format == "JPEG":
        pixels = np.where(pixels < _JPEG_NOISE, np.uint8(0), pixels)
    return (pixels.copy(), inverted) if _has_mnist_form(pixels) else None


def _has_mnist_form(pixels: Digit) -> bool:
    """Check box, centre and level of a (28, 28) uint8 image."""
    rows = pixels.sum(axis=1, dtype=np.int64)
    columns = pixels.sum(axis=0, dtype=np.int64)
    ys, xs = rows.nonzero()[0], columns.nonzero()[0]
    if len(ys) == 0 or not 19 <= max(ys[-1] - ys[0], xs[-1] - xs[0]) + 1 <= _BOX:
        return False
    mass = int(rows.sum())
    y, x = float(rows @ _INDEX) / mass, float(columns @ _INDEX) / mass
    return abs(y - 14) < 0.52 and abs(x - 14) < 0.52 and int(pixels.max()) >= 250


class Drawn(NamedTuple):
    """An MNIST-like digit, and what became of the pen."""

    pixels: Digit
    """(28, 28) uint8, light on black."""
    stroke: float
    """Mean width of the strokes in pixels of 28x28, had only the size been changed."""
    drawn: float
    """The width that they were given."""


def normalise_ink(ink: Grey) -> Digit:
    """Draw ink as MNIST would have; see ``draw_ink``."""
    return draw_ink(ink).pixels


def draw_ink(ink: Grey) -> Drawn:
    """Draw ink as MNIST would have.

    Args:
        ink: (height, width) float32 in [0, 1], cropped to its box, not empty.
    """
    fine = full_ink(resize(ink, _BOX * _FINE))
    stroke = drawn = stroke_width(fine) / _FINE
    growth = stroke_growth(stroke)
    if growth:
        changed = thicken(fine, growth * _FINE / 2)
        if changed.max() > 0.5:  # nothing would be left of a rugged blot
            fine, drawn = changed, wanted_width(stroke)
    return Drawn(centre(to_box(fine)), stroke, drawn)


def resize(ink: Grey, longest: int) -> Grey:
    """Bring the longer side to `longest` pixels: averaged if that is smaller, smoothly drawn if larger.

    Enlarged, it is blurred by a good half of one of its own pixels, which takes the stairs out of one-bit strokes.
    """
    height, width = ink.shape
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if scale <= 1:
        return np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BOX), dtype=np.float32).clip(0, 1)
    large = Image.fromarray(np.rint(ink * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    smooth = large.filter(ImageFilter.GaussianBlur(_SMOOTHING * scale))
    return np.asarray(smooth, dtype=np.float32) / np.float32(255)


def full_ink(fine: Grey) -> Grey:
    """Bring strokes that averaging has paled, being thinner than a pixel, back to full ink."""
    level = float(np.percentile(fine[fine > 0.1 * fine.max()], 75))
    return (fine / np.float32(level)).clip(0, 1)


def stroke_width(ink: Grey) -> float:
    """Estimate the mean width of the strokes, in pixels: twice the area over the length of the outline.

    The outline is counted as steps between pixels, which overstates a slanting one by 4/pi on average.
    """
    mask = np.pad(ink > 0.5, 1)
    steps = int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())
    return 2 * float(mask.sum()) / max(steps * math.pi / 4, 1)


def wanted_width(width: float) -> float:
    """Return the width, of those that MNIST has, that is nearest to a stroke's."""
    return min(max(width, _STROKE_RANGE[0]), _STROKE_RANGE[1])


def stroke_growth(width: float) -> float:
    """Return how many pixels a stroke must grow, or if negative shrink, to be as thick as MNIST's.

    A digit grows with its strokes and is then scaled back to 20 pixels: after growing by g its strokes are
    (width + g) * 20 / (20 + g) wide, which is solved for g.
    """
    wanted = wanted_width(width)
    return (wanted - width) / (1 - wanted / _BOX)


def thicken(ink: Grey, radius: float) -> Grey:
    """Grow ink by a disc, or shrink it where `radius` is negative.

    Returns:
        A larger array where ink grew, so that nothing is cut off.
    """
    reach = math.ceil(abs(radius))
    padded = np.pad(ink, 2 * reach)
    work = padded if radius > 0 else 1 - padded
    height, width = padded.shape
    grown = work.copy()
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            share = min(max(abs(radius) + 1 - math.hypot(dy, dx), 0.0), 1.0)  # the disc's edge is soft
            if share == 0:
                continue
            rows = slice(max(dy, 0), height + min(dy, 0)), slice(max(-dy, 0), height + min(-dy, 0))
            columns = slice(max(dx, 0), width + min(dx, 0)), slice(max(-dx, 0), width + min(-dx, 0))
            target = grown[rows[0], columns[0]]
            np.maximum(target, work[rows[1], columns[1]] * np.float32(share), out=target)
    return grown if radius > 0 else 1 - grown


def to_box(fine: Grey) -> Grey:
    """Crop to the ink and average it into a box of 20 pixels on the longer side."""
    return resize(np.ascontiguousarray(fine[extent(fine > 0.25 * fine.max())]), _BOX)


def centre(box: Grey) -> Digit:
    """Put a box of at most 20x20 on 28x28 with its centre of mass at the middle, by whole pixels as MNIST."""
    height, width = box.shape
    mass = float(box.sum())
    y = float(box.sum(axis=1) @ np.arange(height)) / mass
    x = float(box.sum(axis=0) @ np.arange(width)) / mass
    top = min(max(round(14 - y), 0), _SIDE - height)
    left = min(max(round(14 - x), 0), _SIDE - width)
    digit = np.zeros((_SIDE, _SIDE), dtype=np.uint8)
    digit[top : top + height, left : left + width] = np.rint(box / box.max() * 255)
    return digit
