"""How the ink of a picture lies: lines of pieces, each piece a digit or a part of one.

Specks, dots, dashes, rules and frames are left out. Which pieces belong together is for a network to say (see
numbers.py); here are only sizes and places. Arrays only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from digitnet.cells import without_walls
from digitnet.components import Boxes, Components, connected, extent
from digitnet.errors import PictureError
from digitnet.normalise import stroke_width
from digitnet.seams import find_seams

Mask = npt.NDArray[np.bool_]

MOST_PARTS = 250  # that may be digits: a page of print is no number, and is not worth minutes
_MOST_PIECES = 4 * MOST_PARTS  # once wide ink is cut: a page of joined writing has few parts, but is a page, too
_MAIN = 0.35  # of the digits' typical height: what is lower may belong to a digit, but is none
_SPECK = 0.1  # of it: what is smaller both ways is dirt
_REACH = 0.15  # of it: how far from a digit its dots and broken ends may be
_STEEPEST = 0.3  # how much a line may rise or fall, per width: 17 degrees
_STACKED = 0.6  # of the narrower part: what shares so many columns is one digit
_ONCE = 1.3  # strokes in a column of a ruled line, on average; rough edges and crossed digits make some more
_BLOT = 0.5  # of a line's height: a pen as wide writes no digits
_CUT_WIDTH = 0.6  # of a line's height: ink that is wider may be two digits that touch


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What it took to cut a piece of ink from another; the less, the likelier it was to touch by chance."""

    ink: float
    """How much ink lies on the cut, in widths of the stroke."""
    width: float
    """How wide the ink was before it was cut, in heights of the line."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """A piece of ink that is a digit, or a part of one."""

    box: tuple[int, int, int, int]
    """Left, top, right, bottom in pixels; the last two exclusive."""
    mask: Mask
    """(bottom - top, right - left) bool: its ink."""
    is_main: bool
    """Whether it is high enough to be a digit by itself."""
    cut: Cut | None
    """What it took to part it from the piece before; None where nothing was cut."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """A line of writing."""

    height: float
    """Of a digit, in pixels."""
    pieces: tuple[Piece, ...]
    """From left to right."""


def find_lines(mask: Mask) -> list[Line]:
    """Find the lines of digits in a map of ink.

    Args:
        mask: (height, width) bool, with all its specks and rules.

    Returns:
        Lines from top to bottom, each with at least one piece that may be a digit. None for a mask of dirt alone.

    Raises:
        PictureError: There are hundreds of them, as on a page of print.
    """
    parts = connected(mask)
    cleared = without_walls(mask, parts)
    if cleared is not mask:
        mask, parts = cleared, connected(cleared)
    labels = np.full(mask.shape, -1, np.int32)
    labels[mask] = parts.labels
    kept, is_main, typical = _sort_out(parts, labels)
    mains = np.flatnonzero(is_main)
    if len(mains) == 0:
        return []
    _refuse_above(MOST_PARTS, len(mains))
    digits = _join_halves(parts.box[mains], typical)
    boxes = np.array([_around(parts.box[mains[digit]]) for digit in digits])
    lines = group_lines(boxes, find_slope(boxes, typical), typical)
    groups = [np.concatenate([digits[index] for index in line]) for line in lines]
    small = np.flatnonzero(kept & ~is_main)[: 10 * MOST_PARTS]
    owner = _owners(parts.box[small], parts.box[mains], typical)
    found, left = [], _MOST_PIECES
    for group in groups:
        found.append(_line(labels, parts, mains[group], small[np.isin(owner, group)], left))
        left -= len(found[-1].pieces)
    return found


def _refuse_above(most: int, count: int) -> None:
    """Raise a PictureError where there is more ink than a number has."""
    if count > most:
        raise PictureError(f"more than {MOST_PARTS} pieces of ink: a page, and no number")


def _sort_out(parts: Components, labels: npt.NDArray[np.int32]) -> tuple[Mask, Mask, float]:
    """Tell what may belong to a digit, and what may be one, from dirt, rules and frames.

    Args:
        parts: Of the ink.
        labels: (height, width): each pixel's part, or -1.

    Returns:
        (parts,) bool twice, and how high a digit typically is, in pixels.

    Raises:
        PictureError: There are too many of them to compare.
    """
    top, left, bottom, right = parts.box.T
    tall, wide, shape = bottom - top, right - left, labels.shape
    at_edge = (top == 0) | (left == 0) | (bottom == shape[0]) | (right == shape[1])
    level = (wide > 5 * tall) & (wide > 0.3 * shape[1])
    level[level] = [_is_stroke(labels, parts.box, int(part)) for part in np.flatnonzero(level)]
    rule = level | ((tall > 8 * wide) & (tall >= 0.95 * shape[0]) & at_edge)
    if rule.all():
        rule = level  # an upright one is a 1 that fills its picture
    large = ~rule & (parts.area >= 0.02 * parts.area[~rule].max(initial=0)) & (parts.area >= 3)
    _refuse_above(4 * MOST_PARTS, int(large.sum()))  # each is compared with each: of a page of dots, gigabytes
    frames = _frames(parts.box, large)
    large &= ~frames
    if not large.any():
        return large, large, 1.0
    typical = weighted_median(tall[large], parts.area[large])
    is_main = large & (tall >= _MAIN * typical)
    is_main &= ~(at_edge & ((tall > 2.5 * typical) | (tall < 0.6 * typical)))  # shadows, and the next line's feet
    is_main &= ~((wide > 4 * tall) & (tall < 0.5 * typical))  # underlines
    kept = ~rule & ~frames & (np.maximum(tall, wide) >= _SPECK * typical) & (parts.area >= 3) & (tall <= 2.5 * typical)
    return kept | is_main, is_main, typical


def _is_stroke(labels: npt.NDArray[np.int32], boxes: Boxes, part: int) -> bool:
    """Say whether long and low ink is one stroke, and no row of digits that touch: those cross most columns twice."""
    mask, _ = _ink(labels, boxes, [part])
    crossings = mask[0].sum() + (mask[1:] & ~mask[:-1]).sum()
    return bool(crossings <= _ONCE * mask.shape[1])


def _frames(boxes: Boxes, large: Mask) -> Mask:
    """Tell which large parts are frames around others, as on a form: (parts,) bool."""
    index = np.flatnonzero(large)
    top, left, bottom, right = boxes[index].T
    inside = (top[:, None] < top) & (left[:, None] < left) & (bottom[:, None] > bottom) & (right[:, None] > right)
    inside &= (bottom - top) >= 0.35 * (bottom - top)[:, None]
    result = np.zeros(len(boxes), bool)
    result[index] = inside.any(axis=1)
    return result


def _join_halves(boxes: Boxes, typical: float) -> list[list[int]]:
    """Join parts that stand one right over the other, and together are no higher than a digit.

    Returns:
        The indices of each digit's parts.
    """
    digits: list[list[int]] = []
    for index in np.argsort(boxes[:, 0], kind="stable"):
        for digit in digits:
            above = _around(boxes[digit])
            gap, height = boxes[index, 0] - above[2], boxes[index, 2] - above[0]
            beside = _overlap(above[[1, 3]], boxes[index, [1, 3]])
            if gap < _REACH * typical and height < 1.3 * typical and beside >= _STACKED:
                digit.append(int(index))
                break
        else:
            digits.append([int(index)])
    return digits


def _around(boxes: Boxes) -> npt.NDArray[np.intp]:
    """Return the box around boxes."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def weighted_median(values: npt.NDArray[np.intp], weights: npt.NDArray[np.intp]) -> float:
    """Return the value that half of the weight does not exceed."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def find_slope(boxes: Boxes, typical: float) -> float:
    """Find how much the lines fall to the right, per width: the slope at which boxes fall into the fewest rows."""
    if len(boxes) == 1:
        return 0.0
    slopes = np.linspace(-_STEEPEST, _STEEPEST, 61)
    scores = [_sharpness(boxes, slope, typical / 10) * (1 - abs(slope) / 2) for slope in slopes]
    order = np.argsort(np.abs(slopes), kind="stable")
    return float(slopes[order[np.argmax(np.round(np.array(scores)[order], 6))]])


def _sharpness(boxes: Boxes, slope: float, row_height: float) -> float:
    """Sum the squares of how many boxes lie in each row, having undone a slope."""
    ends = np.rint((boxes[:, [0, 2]] - slope * boxes[:, [1, 3]].mean(axis=1, keepdims=True)) / row_height).astype(int)
    ends -= ends.min()
    change = np.bincount(ends[:, 0], minlength=ends.max() + 1) - np.bincount(ends[:, 1], minlength=ends.max() + 1)
    return float((np.cumsum(change) ** 2).sum())


def group_lines(boxes: Boxes, slope: float, typical: float) -> list[npt.NDArray[np.intp]]:
    """Group boxes into lines: each joins the line whose last box it stands beside, once the slope is undone.

    Each line may have a slope of its own beside that; the nearer the boxes, the less it matters.

    Returns:
        The indices of each line's boxes from left to right, lines from top to bottom.
    """
    middles = boxes[:, [1, 3]].mean(axis=1)
    spans = boxes[:, [0, 2]] - slope * middles[:, None]
    lines: list[list[int]] = []
    for index in np.argsort(middles, kind="stable"):
        far = [0.03 * (middles[index] - middles[line[-1]]) / typical for line in lines]
        shares = [_overlap(spans[line[-1]], spans[index]) for line in lines]
        best = int(np.argmax(np.subtract(shares, far))) if lines else 0
        if lines and shares[best] >= 0.4:
            lines[best].append(int(index))
        else:
            lines.append([int(index)])
    return [np.array(line) for line in sorted(lines, key=lambda line: float(spans[line].mean()))]


def _overlap(a: Sequence[float] | npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Return what share of the shorter of two spans lies within the other; negative where they are apart."""
    return float((min(a[1], b[1]) - max(a[0], b[0])) / min(a[1] - a[0], b[1] - b[0]))


def _owners(small: Boxes, mains: Boxes, typical: float) -> npt.NDArray[np.intp]:
    """Return for each small part the nearest main one, or -1 where none is near: a dot, a dash or a speck."""
    if len(small) == 0:
        return np.zeros(0, np.intp)
    before = small[:, None, :2] - mains[None, :, 2:]
    after = mains[None, :, :2] - small[:, None, 2:]
    distance = np.maximum(np.maximum(before, after), 0).max(axis=2)
    return np.where(distance.min(axis=1) <= _REACH * typical, distance.argmin(axis=1), -1)


def _line(
    labels: npt.NDArray[np.int32],
    parts: Components,
    mains: npt.NDArray[np.intp],
    small: npt.NDArray[np.intp],
    most: int,
) -> Line:
    """Put together the pieces of a line, `most` at most, from the parts, main and small, that lie in it."""
    tall = parts.box[mains, 2] - parts.box[mains, 0]
    height = float(np.percentile(tall, 60))
    pieces: list[Piece] = []
    for group in _stacks(parts.box, mains):
        pieces += _cut(*_ink(labels, parts.box, group), height)
        _refuse_above(most, len(pieces) + len(small))
    for part in small:
        mask, (left, top) = _ink(labels, parts.box, [int(part)])
        pieces.append(_piece(mask, left, top, is_main=False, cut=None))
    return Line(height=height, pieces=tuple(sorted(pieces, key=lambda piece: piece.box[0] + piece.box[2])))


def _stacks(boxes: Boxes, mains: npt.NDArray[np.intp]) -> list[list[int]]:
    """Join the main parts of a line that stand over one another, and so are one digit."""
    stacks: list[list[int]] = []
    for part in sorted(mains, key=lambda part: boxes[part, 1]):
        last = boxes[stacks[-1]] if stacks else None
        if last is not None and _overlap((last[:, 1].min(), last[:, 3].max()), boxes[part, [1, 3]]) >= _STACKED:
            stacks[-1].append(int(part))
        else:
            stacks.append([int(part)])
    return stacks


def _ink(labels: npt.NDArray[np.int32], boxes: Boxes, group: list[int]) -> tuple[Mask, tuple[int, int]]:
    """Cut some parts out of a picture of labels; returns their mask, and its left and top."""
    top, left = boxes[group, :2].min(axis=0)
    bottom, right = boxes[group, 2:].max(axis=0)
    return np.isin(labels[top:bottom, left:right], group), (int(left), int(top))


def _cut(mask: Mask, corner: tuple[int, int], height: float) -> list[Piece]:
    """Cut wide ink at every place where two digits may touch."""
    stroke = max(stroke_width(mask.astype(np.float32)), 1.0)
    may_touch = mask.shape[1] > _CUT_WIDTH * height and stroke < _BLOT * height
    seams = find_seams(mask, height) if may_touch else []
    columns = np.arange(mask.shape[1])
    # How many paths are to the left of each pixel: right also where two of them run together for a while.
    place = sum((columns >= seam.columns[:, None] for seam in seams), np.zeros(mask.shape, np.intp))
    pieces: list[Piece] = []
    for index in range(len(seams) + 1):
        part = mask & (place == index)
        if not part.any():
            continue
        seam = seams[index - 1] if pieces else None
        cut = seam and Cut(ink=seam.ink / stroke, width=mask.shape[1] / height)
        pieces.append(_piece(part, *corner, is_main=True, cut=cut))
    return pieces


def _piece(mask: Mask, left: int, top: int, *, is_main: bool, cut: Cut | None) -> Piece:
    """Crop a mask, whose corner is at `left` and `top`, to its ink."""
    y, x = extent(mask)
    box = (left + x.start, top + y.start, left + x.stop, top + y.stop)
    return Piece(box=box, mask=mask[y, x], is_main=is_main, cut=cut)
