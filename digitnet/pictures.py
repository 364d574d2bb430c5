"""Any picture file -> the 28x28 digit that MNIST would have made of it.

Files are opened in decoding.py, and every picture mode is brought to grey in modes.py. What is ink is decided in
ink.py; how ink becomes an MNIST image, in normalise.py. Nothing here knows about networks, and nothing imports torch.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from digitnet.components import Boxes
from digitnet.config import IMAGE_SIZE
from digitnet.decoding import read_picture
from digitnet.errors import BlankError, NoiseError
from digitnet.ink import InkMap, cut_out, map_ink
from digitnet.modes import grey, reduce_to
from digitnet.normalise import as_mnist_form, draw_ink
from digitnet.several import holds_several
from digitnet.sources import Source, named

Digit = npt.NDArray[np.uint8]
Objection = Literal["blank", "noise", "several digits", "not a digit"]
Polarity = Literal["dark on light", "light on dark"]

_POLARITIES: tuple[Polarity, Polarity] = ("light on dark", "dark on light")  # by: is it dark on light?
_WORKING_SIDE = 400


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What was found in a picture, and what was done to it."""

    polarity: Polarity
    """Which of ink and paper is darker."""
    orientation: int
    """The EXIF orientation that was undone, 1 to 8; 1 is upright."""
    mnist_form: bool
    """It had MNIST's form, and was left alone but for polarity and a JPEG's noise: that is all then."""
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
    outlines: int = 0
    """Outlines around the digit taken away."""
    bars: int = 0
    """Lines below or above the digit taken away."""
    on_sheet: bool = False
    """What was read is a sheet that lies in the picture."""
    tilt: float = 0.0
    """How far the sheet lay turned clockwise, in degrees, and was turned back."""


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


def read_prepared(source: Source) -> Prepared:
    """Read a picture and make it ready for a network.

    Raises:
        PictureError: It cannot be read as a picture.
    """
    try:
        return read_written(source)
    except BlankError as error:
        return _without_ink(error)


def read_written(source: Source) -> Prepared:
    """Read a picture, in which something must be written, and make it ready for a network.

    Raises:
        BlankError: It holds no ink.
        PictureError: It cannot be read as a picture.
    """
    opened = read_picture(source)
    try:
        return _prepare(*opened)
    except BlankError as error:
        raise type(error)(f"{named(source)}: {error}") from None


def read_digit(source: Source) -> Digit:
    """Read a picture as an MNIST-like digit.

    Returns:
        (28, 28) uint8, light ink on black.

    Raises:
        PictureError: It cannot be read as a picture, or holds no ink.
    """
    return read_written(source).pixels


def to_digit(picture: Image.Image) -> Digit:
    """Make of a picture what MNIST would have made of it.

    A picture that already has MNIST's form comes back bit for bit, but without a JPEG's noise, inverted if need be.

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
    except BlankError as error:
        return _without_ink(error)


def _prepare(picture: Image.Image, size: tuple[int, int], orientation: int) -> Prepared:
    """Prepare a picture that was `size` (width, height) in its file; BlankError if there is no ink."""
    ready = as_mnist_form(picture)
    if ready is not None:
        pixels, inverted = ready
        steps = _MNIST_STEPS[inverted]
        return Prepared(pixels=pixels, steps=steps if orientation == 1 else replace(steps, orientation=orientation))
    small = reduce_to(picture, _WORKING_SIDE)
    found = map_ink(grey(small), straighten=True)
    drawn = draw_ink(cut_out(found, found.mask))
    steps = Steps(
        polarity=_POLARITIES[found.dark_on_light],
        orientation=orientation,
        mnist_form=False,
        ink_box=_ink_box(found.boxes, max(size) / max(small.size)),
        stroke=drawn.stroke,
        drawn_stroke=drawn.drawn,
        lines=found.lines,
        specks=found.specks,
        outlines=found.outlines,
        bars=found.bars,
        on_sheet=found.on_sheet,
        tilt=found.tilt,
    )
    return Prepared(pixels=drawn.pixels, objection=_objection(found), steps=steps)


def _objection(found: InkMap) -> Objection | None:
    """Say what speaks against one digit, as far as ink tells."""
    if holds_several(found.boxes):
        return "several digits"
    return "not a digit" if found.is_blot else None


def _ink_box(boxes: Boxes, scale: float) -> tuple[int, int]:
    """Measure the width and height of all boxes together, times `scale`."""
    return round(int(np.ptp(boxes[:, [1, 3]])) * scale), round(int(np.ptp(boxes[:, [0, 2]])) * scale)


def _without_ink(error: BlankError) -> Prepared:
    objection: Objection = "noise" if isinstance(error, NoiseError) else "blank"
    return Prepared(pixels=np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8), objection=objection)
