"""Where the ink is in a grey picture: the threshold, and a map of the strokes.

From a grey picture to a clean map of ink, cropped to the digit. What it lies on is paper.py's matter; which parts of
it are strokes, parts.py's; how large and how thick MNIST would draw it, normalise.py's. Arrays only: no files, no
picture modes.
"""

from dataclasses import dataclass

import numpy as np

from digitnet.blots import is_blot
from digitnet.components import Boxes, extent
from digitnet.errors import BlankError, NoiseError
from digitnet.paper import (
    CLOSE_WINDOW,
    LEAST_CONTRAST,
    PAPER_WINDOW,
    PHOTO_SIDE,
    Grey,
    Mask,
    divide_by_paper,
    is_dark_on_light,
    is_noise,
    near_paper,
)
from digitnet.parts import keep_strokes
from digitnet.ruling import Cleared, inside_of, remove_lines
from digitnet.sheet import cut_sheet

_BLANK = "the picture is blank: no ink stands out from the paper"
_NOISE = "the picture is noise: nothing is written in it"
_LEAST_RANGE = 0.03  # of black to white, over the whole picture
_MANY_SPECKS = 5  # what has as many may be noise
_LEAST_SHADOW = 0.02  # of the strokes: what a paper that follows more takes away, if it is to be looked at


@dataclass(frozen=True, kw_only=True)
class InkMap:
    """Where there is ink in a picture."""

    ink: Grey
    """(height, width) float32: the share of the paper's light that is missing; paper is about 0."""
    mask: Mask
    """(height, width) bool: the strokes, without specks and edges."""
    boxes: Boxes
    """(parts, 4): around each connected part of the strokes."""
    threshold: float
    """What of `ink` is a stroke and no longer its soft edge."""
    corner: tuple[int, int]
    """Left and top of this map in the picture, of which it may be a sheet that lies in it."""
    dark_on_light: bool
    """The polarity of the picture."""
    lines: int
    """How many ruled lines were taken away."""
    specks: int
    """How many parts were left out: dust, remnants of lines, what belongs to the picture's edge."""
    outlines: int
    """How many outlines around the rest were left out."""
    bars: int
    """How many lines below or above the rest were left out."""
    is_blot: bool
    """Whether the strokes are one solid patch."""
    on_sheet: bool
    """Whether this map is of a sheet that lies in the picture."""
    tilt: float
    """How far the sheet lay turned clockwise, in degrees, and has been turned back."""


def map_ink(grey: Grey, *, straighten: bool = False) -> InkMap:
    """Tell ink from paper in a grey picture.

    Args:
        grey: (height, width) float32 in [0, 1], of either polarity.
        straighten: Whether to turn back a sheet that lies aslant; its map has other coordinates than the picture then.

    Returns:
        A map of the picture, or of the sheet in it; at least one pixel is ink.

    Raises:
        BlankError: No ink stands out from the paper.
        NoiseError: Nor is there any paper.
    """
    if np.ptp(grey) < _LEAST_RANGE:
        raise BlankError(_BLANK)
    sheet = cut_sheet(grey, straighten=straighten)
    dark = is_dark_on_light(sheet.grey)
    paper = sheet.grey if dark else 1 - sheet.grey
    ink, threshold = remove_paper(paper)
    inner = inside_of(ink, threshold)
    if ink[inner].shape != ink.shape:
        ink, threshold = ink[inner], ink_threshold(ink[inner])
    cleared, threshold = clear_lines(ink, threshold)
    strokes = keep_strokes(cleared.ink > threshold, cleared.tracks)
    if (strokes.specks >= _MANY_SPECKS or not strokes.mask.any()) and is_noise(grey):
        raise NoiseError(_NOISE)
    if not strokes.mask.any():
        raise BlankError(_BLANK)
    return InkMap(
        ink=cleared.ink,
        mask=strokes.mask,
        boxes=strokes.boxes,
        threshold=threshold,
        corner=(sheet.corner[0] + inner[1].start, sheet.corner[1] + inner[0].start),
        dark_on_light=dark,
        lines=cleared.count,
        specks=strokes.specks,
        outlines=strokes.outlines,
        bars=strokes.bars,
        is_blot=is_blot(paper[inner], strokes.mask),
        on_sheet=sheet.found,
        tilt=sheet.tilt,
    )


def clear_lines(ink: Grey, threshold: float) -> tuple[Cleared, float]:
    """Take ruled lines away; pale ones show once the threshold, freed of the darker ones, has fallen.

    Returns:
        The ink without lines, and the threshold that it has.
    """
    cleared = Cleared(ink=ink, tracks=None, count=0)
    for _ in range(3):
        more = remove_lines(cleared.ink, threshold)
        if more.tracks is None:
            break
        tracks = more.tracks if cleared.tracks is None else more.tracks | cleared.tracks
        cleared = Cleared(ink=more.ink, tracks=tracks, count=more.count + cleared.count)
        threshold = ink_threshold(cleared.ink)
    return cleared, threshold


def cut_out(found: InkMap, mask: Mask) -> Grey:
    """Cut the strokes of a mask, (height, width) bool, out of a map.

    Returns:
        (ink height, ink width) float32 in [0, 1], 1 is full ink, cropped to the ink's box.
    """
    full = float(np.percentile(found.ink[mask], 75))
    rows, columns = extent(mask)
    box = slice(max(rows.start - 1, 0), rows.stop + 1), slice(max(columns.start - 1, 0), columns.stop + 1)
    paper = 0.3 * found.threshold
    return ((found.ink[box] - paper) / (full - paper)).clip(0, 1) * widen(mask[box])


def remove_paper(grey: Grey) -> tuple[Grey, float]:
    """Take the paper away, and the shadows on it.

    A paper that follows only what is wider than a third of the picture leaves the rim of a sharp shadow, which is ink
    by itself or makes ink of the ruled lines that it crosses. A paper that follows more is the better one if what it
    takes away is paler than what it leaves, as shadows are, and not as dark, as the inside of a bold stroke.

    Args:
        grey: (height, width) float32 in [0, 1], dark on light.

    Returns:
        (height, width) float32: the share of the paper's light that is missing; and what of it is ink, at least.
    """
    ink = divide_by_paper(grey, PAPER_WINDOW)
    threshold = ink_threshold(ink)
    if min(grey.shape) < PHOTO_SIDE:
        return ink, threshold
    closer = divide_by_paper(grey, CLOSE_WINDOW)
    close_threshold = ink_threshold(closer)
    mask, strokes = ink > threshold, closer > close_threshold
    lost = mask & ~widen(strokes)
    if not strokes.any() or lost.sum() < _LEAST_SHADOW * strokes.sum():
        return ink, threshold
    shadows = np.median(ink[lost]) < 0.75 * np.median(ink[strokes])
    return (closer, close_threshold) if shadows else (ink, threshold)


def ink_threshold(ink: Grey) -> float:
    """Separate ink from paper by the level of ink, which Otsu finds among the pixels that are no paper grain.

    Paper outnumbers thin ink by a hundred to one, which would pull Otsu's threshold into the grain; so the
    grain is cut off first. Source: N. Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    grain = -1.4826 * float(np.percentile(near_paper(ink), 25))  # ink is on the other side of the median
    floor = max(LEAST_CONTRAST, 5 * grain)
    strong = ink[ink > floor]
    if strong.size == 0:
        return 1.0
    counts, edges = np.histogram(strong, bins=64, range=(floor, max(float(strong.max()), floor + 1e-3)))
    levels = (edges[:-1] + edges[1:]) / 2
    below, mass = np.cumsum(counts), np.cumsum(counts * levels)
    above = np.maximum(below[-1] - below, 1)
    between = below * above * (mass / np.maximum(below, 1) - (mass[-1] - mass) / above) ** 2
    split = int(between[:-1].argmax())
    # Where strokes overlap, ink is darker still, and Otsu's threshold would keep nothing but those places. So
    # it only tells how dark ink is; 0.4 of that is where a stroke's edge is taken to be.
    ink_level = float((mass[-1] - mass[split]) / above[split])
    return max(0.4 * ink_level, floor)


def widen(mask: Mask) -> Mask:
    """Grow a mask by one pixel in all eight directions: the soft edge of a stroke belongs to it."""
    wide = np.pad(mask, 1)
    wide = wide[:-2] | wide[1:-1] | wide[2:]
    return wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
