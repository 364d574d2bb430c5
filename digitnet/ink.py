"""Where the ink is in a grey picture: polarity, uneven light, threshold, specks.

From a grey picture to a clean map of ink, cropped to the digit. How large and how thick MNIST would draw it
is normalise.py's matter. Arrays only: no files, no picture modes.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from digitnet.components import Components, connected
from digitnet.errors import BlankError
from digitnet.ruling import Cleared, inside_of, remove_lines

Grey = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_BLANK = "the picture is blank: no ink stands out from the paper"
_LEAST_RANGE = 0.03  # of black to white, over the whole picture
_LEAST_CONTRAST = 0.06  # of the paper's brightness; fainter than any pencil, stronger than JPEG's noise
_PAPER_DEPTH = 0.2  # what is darker by more than this says nothing about the paper's grain
_PHOTO_SIDE = 64  # a picture with a shorter side is a drawing: no shadows, sheets and edges are looked for
_PAPER_CELLS = 64  # the paper's brightness is found on about this many cells along the longer side
_PAPER_WINDOW = 1 / 3  # of the longer side: wider than any stroke, narrower than any shadow that matters
_CLOSE_WINDOW = 1 / 9  # where shadows are sharp
_INSETS = (0, 0.05, 0.1)  # of the shorter side: where the border is looked at, past a dark edge
_SHADED_BORDER = 0.005  # of the border is ink: there may be a shadow


@dataclass(frozen=True, kw_only=True)
class InkMap:
    """Where there is ink in a picture."""

    ink: Grey
    """(height, width) float32: the share of the paper's light that is missing; paper is about 0."""
    mask: Mask
    """(height, width) bool: the strokes, without specks and edges."""
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


def find_ink(grey: Grey) -> Grey:
    """Find the digit in a grey picture.

    Args:
        grey: (height, width) float32 in [0, 1], of either polarity.

    Returns:
        (ink height, ink width) float32 in [0, 1], 1 is full ink, cropped to the ink's box.

    Raises:
        BlankError: No ink stands out from the paper.
    """
    found = map_ink(grey)
    return cut_out(found, found.mask)


def map_ink(grey: Grey) -> InkMap:
    """Tell ink from paper in a grey picture.

    Args:
        grey: (height, width) float32 in [0, 1], of either polarity.

    Returns:
        A map of the picture, or of the sheet in it; at least one pixel is ink.

    Raises:
        BlankError: No ink stands out from the paper.
    """
    if np.ptp(grey) < _LEAST_RANGE:
        raise BlankError(_BLANK)
    sheet = sheet_of(grey)
    paper = grey[sheet]
    dark = is_dark_on_light(paper)
    ink, threshold = remove_paper(paper if dark else 1 - paper)
    inner = inside_of(ink, threshold)
    if ink[inner].shape != ink.shape:
        ink, threshold = ink[inner], ink_threshold(ink[inner])
    cleared, threshold = clear_lines(ink, threshold)
    mask, specks = keep_strokes(cleared.ink > threshold, cleared.tracks)
    if not mask.any():
        raise BlankError(_BLANK)
    return InkMap(
        ink=cleared.ink,
        mask=mask,
        threshold=threshold,
        corner=(sheet[1].start + inner[1].start, sheet[0].start + inner[0].start),
        dark_on_light=dark,
        lines=cleared.count,
        specks=specks,
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
    """Cut the strokes of a mask, (height, width) bool, out of a map: find_ink's result, for a part of the ink."""
    full = float(np.percentile(found.ink[mask], 75))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)
    paper = 0.3 * found.threshold
    return ((found.ink[box] - paper) / (full - paper)).clip(0, 1) * widen(mask[box])


def sheet_of(grey: Grey) -> tuple[slice, slice]:
    """Find a light sheet that lies on something dark, which would else be read as one large piece of ink.

    A sheet is at least half as wide and high as the picture, and a frame just inside its outline is all light:
    that tells it from a bold digit, whose corners are round.

    Returns:
        Its rows and columns; those of the whole picture where there is no such sheet.
    """
    height, width = grey.shape
    whole = slice(0, height), slice(0, width)
    if min(height, width) < _PHOTO_SIDE:  # a drawing, not a photo
        return whole
    light = _fill_cells(grey > (grey.min() + grey.max()) / 2)
    parts = connected(light)
    if len(parts.area) == 0:
        return whole
    top, left, bottom, right = parts.box[parts.area.argmax()]
    tall, wide = bottom - top, right - left
    if tall < height / 2 or wide < width / 2 or tall * wide > 0.95 * height * width:
        return whole
    for inset in (0.04, 0.07, 0.1):  # further in if the sheet lies aslant
        dy, dx = round(inset * tall), round(inset * wide)
        inside = slice(top + dy, bottom - dy), slice(left + dx, right - dx)
        if border(light[inside]).mean() > 0.99 and np.ptp(grey[inside]) > _LEAST_CONTRAST:
            return whole if _is_shaded(grey, light) else inside
    return whole


def _fill_cells(light: Mask) -> Mask:
    """Fill each cell of a 64th of the longer side that holds any light, so that no ruled line parts a sheet in two."""
    height, width = light.shape
    cell = max(height, width) // _PAPER_CELLS
    padded = np.pad(light, ((0, -height % cell), (0, -width % cell)))
    cells = padded.reshape(padded.shape[0] // cell, cell, padded.shape[1] // cell, cell).any(axis=(1, 3))
    return cells.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]


def _is_shaded(grey: Grey, light: Mask) -> bool:
    """Say whether what is not light is the sheet's own paper in a shadow: paler than a table, and not all around."""
    sides = [light[0], light[-1], light[:, 0], light[:, -1]]
    around = sum(float(side.mean()) < 0.1 for side in sides)
    return around < 3 and bool(np.median(grey[~light]) > 0.35 * np.median(grey[light]))


def border(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the outermost 2 % of a picture's rows and columns, in one line."""
    return np.concatenate([side.ravel() for side in _sides(values)])


def _sides(values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    depth = max(1, round(0.02 * min(values.shape)))
    return [values[:depth], values[-depth:], values[:, :depth], values[:, -depth:]]


def is_dark_on_light(grey: Grey) -> bool:
    """Tell the polarity by the border; where a shadow or a dark edge lies on part of it, by what is rare."""
    # Not quite the extremes, which are single specks; yet a small digit on a page is no more than this.
    count = grey.size // 5000
    ordered = np.partition(grey.ravel(), [count, grey.size - 1 - count])
    darkest, lightest = float(ordered[count]), float(ordered[-1 - count])
    ring = _even_ring(grey, 0.25 * (lightest - darkest)) if min(grey.shape) >= _PHOTO_SIDE else grey
    if ring is None:
        return _rare_is_dark(grey)
    paper = float(np.median(border(ring)))
    return paper - darkest >= lightest - paper


def _even_ring(grey: Grey, most: float) -> Grey | None:
    """Cut a picture down until its four sides differ by less than `most`: past the dark edges of a scan."""
    for inset in _INSETS:
        depth = round(inset * min(grey.shape))
        ring = grey[depth : grey.shape[0] - depth, depth : grey.shape[1] - depth]
        if np.ptp([np.median(side) for side in _sides(ring)]) < most:
            return ring
    return None


def _rare_is_dark(grey: Grey) -> bool:
    """Say whether, of the dark and the light in each part of a picture, there is less of the dark, as of ink."""
    cells = _cell_means(grey)
    window = 2 * round(_PAPER_WINDOW * max(cells.shape) / 2) + 1
    lightest, darkest = _running(np.maximum, cells, window), _running(np.minimum, cells, window)
    depth = lightest - darkest
    told = depth > 0.5 * depth.max()
    return bool((cells > (lightest + darkest) / 2)[told].mean() >= 0.5)


def _cell_means(grey: Grey) -> Grey:
    """Average a picture over about 64 cells along the longer side."""
    height, width = grey.shape
    cell = max(1, round(max(height, width) / _PAPER_CELLS))
    coarse = np.pad(grey, ((0, -height % cell), (0, -width % cell)), mode="edge")
    cells: Grey = coarse.reshape(coarse.shape[0] // cell, cell, coarse.shape[1] // cell, cell).mean(axis=(1, 3))
    return cells


def remove_paper(grey: Grey) -> tuple[Grey, float]:
    """Take the paper away, and the shadows on it.

    A paper that follows only what is wider than a third of the picture leaves the corners of a sharp shadow, which
    reach the picture's edge. Where there is much at the edge, a paper that follows more is tried; it is the better one
    if what it takes away is paler than what it leaves, as shadows are, and not as dark, as the inside of a bold stroke.

    Args:
        grey: (height, width) float32 in [0, 1], dark on light.

    Returns:
        (height, width) float32: the share of the paper's light that is missing; and what of it is ink, at least.
    """
    ink = divide_by_paper(grey, _PAPER_WINDOW)
    threshold = ink_threshold(ink)
    if min(grey.shape) < _PHOTO_SIDE or (border(ink) > threshold).mean() < _SHADED_BORDER:
        return ink, threshold
    closer = divide_by_paper(grey, _CLOSE_WINDOW)
    close_threshold = ink_threshold(closer)
    mask, strokes = ink > threshold, closer > close_threshold
    lost = mask & ~widen(strokes)
    if not strokes.any() or lost.sum() < 0.1 * strokes.sum():
        return ink, threshold
    shadows = np.median(ink[lost]) < 0.75 * np.median(ink[strokes])
    return (closer, close_threshold) if shadows else (ink, threshold)


def divide_by_paper(grey: Grey, share: float) -> Grey:
    """Divide by the brightness of the paper around each pixel, so that shadows vanish and ink remains.

    The paper is a smooth surface laid over the picture, which is right up to the edges, times a grey closing
    (the lightest value nearby, then the darkest of those), which follows everything wider than its window.

    Args:
        grey: (height, width) float32 in [0, 1], dark on light.
        share: The window, as a share of the longer side.

    Returns:
        (height, width) float32: the share of the paper's light that is missing, at most 1. Paper is 0, with
        its grain on both sides.
    """
    cells = _cell_means(grey)
    window = 2 * round(share * max(cells.shape) / 2) + 1
    surface = upper_surface(cells)
    paper = _running(np.minimum, _running(np.maximum, cells / surface, window), window) * surface
    smooth = Image.fromarray(paper).resize((grey.shape[1], grey.shape[0]), Image.Resampling.BILINEAR)
    ink = 1 - grey / np.maximum(np.asarray(smooth), 0.05)
    level = np.percentile(_near_paper(ink), 50)  # the lightest cell is lighter than the paper by its grain
    flat: Grey = (ink - level) / (1 - level)
    return flat


def _near_paper(ink: Grey) -> Grey:
    """Choose the pixels that tell the paper's level and grain, at most one in five of them."""
    sample = ink.ravel()[::5]
    near = sample[sample < _PAPER_DEPTH]
    return near if near.size else np.zeros(1, np.float32)


def upper_surface(cells: Grey) -> Grey:
    """Fit a quadratic surface to the light cells: least squares in which being above costs 100 times less.

    Source: W. Newey, J. Powell, "Asymmetric least squares estimation and testing", 1987.

    Returns:
        Of the shape of `cells`, float32, at least 0.05.
    """
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in cells.shape), indexing="ij")
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])  # (6, height, width)
    step = math.ceil(max(cells.shape) / 32)  # so small that BLAS starts no threads, which cost more
    values = cells[::step, ::step].ravel().astype(np.float64)
    rough = basis[:, ::step, ::step].reshape(6, -1)
    weight = np.ones_like(values)
    for _ in range(8):
        weighted = rough * weight
        factors = np.linalg.lstsq(weighted @ rough.T, weighted @ values, rcond=1e-9)[0]
        weight = np.where(values >= factors @ rough, 1.0, 0.01)
    surface: Grey = (factors[:, None, None] * basis).sum(axis=0).clip(0.05, None).astype(np.float32)
    return surface


def _running(function: np.ufunc, values: Grey, window: int) -> Grey:
    """Slide a square window over `values`, edges repeated, and reduce it by `function`."""
    half = window // 2
    for axis in (0, 1):
        pad = [(half, half) if axis == a else (0, 0) for a in (0, 1)]
        views = np.lib.stride_tricks.sliding_window_view(np.pad(values, pad, mode="edge"), window, axis=axis)
        values = np.asarray(function.reduce(views, axis=-1), dtype=np.float32)
    return values


def ink_threshold(ink: Grey) -> float:
    """Separate ink from paper by the level of ink, which Otsu finds among the pixels that are no paper grain.

    Paper outnumbers thin ink by a hundred to one, which would pull Otsu's threshold into the grain; so the
    grain is cut off first. Source: N. Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    grain = -1.4826 * float(np.percentile(_near_paper(ink), 25))  # ink is on the other side of the median
    floor = max(_LEAST_CONTRAST, 5 * grain)
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


def keep_strokes(mask: Mask, tracks: Mask | None = None) -> tuple[Mask, int]:
    """Drop specks, and thin strips along the picture's edge (shadows, the next line on the page).

    Args:
        mask: (height, width) bool: what is darker than paper.
        tracks: (height, width) bool: where ruled lines were, if there were any.

    Returns:
        The mask without them, and how many parts were dropped.
    """
    parts = connected(mask)
    if len(parts.area) == 0:
        return mask, 0
    height, width = mask.shape
    top, left, bottom, right = parts.box.T
    tall, wide = bottom - top, right - left
    at_left, at_right, at_top, at_bottom = left == 0, right == width, top == 0, bottom == height
    # An upright line that only ends at an edge may be the stem of a 4; a level one from side to side is a rule.
    upright = (wide < 0.1 * width) & (tall > 3 * wide) & (at_left | at_right)
    level = (tall < 0.1 * height) & (wide > 3 * tall) & (at_top | at_bottom | (at_left & at_right))
    stray = upright | level
    if stray.all():  # a 1 that fills its picture
        stray[:] = False
    if tracks is not None:
        stray |= _are_remnants(parts, mask, tracks)
    largest = parts.area[~stray].max()
    kept = ~stray & (parts.area >= 0.02 * largest) & (parts.area >= 3)
    result = mask.copy()
    result[mask] = kept[parts.labels]
    return result, int((~kept).sum())


def _are_remnants(parts: Components, mask: Mask, tracks: Mask) -> Mask:
    """Say which parts lie almost wholly on the tracks of ruled lines: what is left where lines cross or are smeared."""
    on_track = np.bincount(parts.labels, weights=tracks[mask], minlength=len(parts.area))
    remnant: Mask = (on_track > 0.8 * parts.area) & (parts.area < 0.25 * parts.area.max())
    return remnant


def widen(mask: Mask) -> Mask:
    """Grow a mask by one pixel in all eight directions: the soft edge of a stroke belongs to it."""
    wide = np.pad(mask, 1)
    wide = wide[:-2] | wide[1:-1] | wide[2:]
    return wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
