"""Which connected parts of ink are strokes, and which are specks, strips along an edge or marks. Arrays only."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from digitnet.components import Boxes, Components, connected, pixels_within
from digitnet.marks import find_marks

Mask = npt.NDArray[np.bool_]

_CREASE = 30  # times as long as wide: an edge between two halves, a fold, a hair


class Strokes(NamedTuple):
    """What of a map of ink are strokes."""

    mask: Mask
    """(height, width) bool."""
    boxes: Boxes
    """(parts, 4): around each connected part."""
    specks: int
    """How many other parts were left out."""
    outlines: int
    """How many outlines around the rest were."""
    bars: int
    """How many lines below or above the rest were."""


def keep_strokes(mask: Mask, tracks: Mask | None = None) -> Strokes:
    """Drop specks, strips along the picture's edge (shadows, the next line on the page), and marks about the digit.

    Args:
        mask: (height, width) bool: what is darker than paper.
        tracks: (height, width) bool: where ruled lines were, if there were any.
    """
    parts = connected(mask)
    stray = _are_stray(parts.box, mask.shape)
    if tracks is not None and len(stray):
        stray |= _are_remnants(parts, mask, tracks)
    if stray.all():
        return Strokes(np.zeros_like(mask), parts.box[:0], len(stray), 0, 0)
    outlines, bars = find_marks(mask, parts, ~stray & (parts.area >= 3))
    used = ~stray & ~outlines & ~bars
    largest = parts.area[used].max()
    kept = used & (parts.area >= 0.02 * largest) & (parts.area >= 3)
    result = mask.copy()
    result[mask] = kept[parts.labels]
    dropped = ~kept & ~outlines & ~bars
    return Strokes(result, parts.box[kept], int(dropped.sum()), int(outlines.sum()), int(bars.sum()))


def _are_stray(boxes: Boxes, shape: tuple[int, ...]) -> Mask:
    """Say which parts are thin strips along the edge of a picture of `shape`, or creases across it: (parts,) bool."""
    height, width = shape
    top, left, bottom, right = boxes.T
    tall, wide = bottom - top, right - left
    at_left, at_right, at_top, at_bottom = left == 0, right == width, top == 0, bottom == height
    # An upright line that only ends at an edge may be the stem of a 4; a level one from side to side is a rule.
    upright = (wide < 0.1 * width) & (tall > 3 * wide) & (at_left | at_right)
    level = (tall < 0.1 * height) & (wide > 3 * tall) & (at_top | at_bottom | (at_left & at_right))
    crease = (tall > _CREASE * wide) & at_top & at_bottom  # a 1 that fills its picture is not as thin
    stray: Mask = upright | level | crease
    return stray


def _are_remnants(parts: Components, mask: Mask, tracks: Mask) -> Mask:
    """Say which parts lie almost wholly on the tracks of ruled lines: what is left where lines cross or are smeared."""
    remnant: Mask = (pixels_within(mask, parts, tracks) > 0.8 * parts.area) & (parts.area < 0.25 * parts.area.max())
    return remnant
