"""Which pieces of a line of ink could be one digit, what speaks against each, and the best way through the line.

layout.py cuts lines into pieces more often than need be; how sure it is of each run of them, a network says (see
numbers.py). Arrays only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import numpy as np
import numpy.typing as npt

from digitnet.components import extent
from digitnet.errors import PictureError
from digitnet.ink import InkMap, cut_out
from digitnet.layout import Line, Piece
from digitnet.normalise import centre, normalise_ink, stroke_width, to_box

Box = tuple[int, int, int, int]

_MOST_IN_DIGIT = 9  # pieces: all those of a 2 with a long tail
MOST_RUNS = 500  # in a picture: they take some two seconds; a hundred digits that are apart have 250
_WIDEST = 2.0  # of a line's height: wider runs of pieces are no digit
_APART = 0.15  # of it: what is so far from the next, and both are nearly as high as the line, is no digit with it
_BLOT = 0.33  # of a run's longer side: digits are written with pens that are less wide
_HIGH = 0.7  # of it: nearly as high as the line

# What speaks against a run of pieces, in units of the logarithm of a probability; chosen by the lines read right of
# MNIST's validation digits, written in all the hands of tests/writing.py.
_CUT = 0.05  # each cut,
_CUT_INK = 0.1  # and for each stroke's width of ink that it crosses,
_CUT_NARROW = 0.2  # and for ink that was narrower than 1.2 line heights before, per line height
_JOIN = 0.1  # ink put together that nothing had cut,
_GAP = 0.3  # and the paper between, per line height
_LOW = 3.0  # lower than 0.7 of the line's height, per line height
_WIDE = 0.8  # wider than the line is high, per line height
_DROP = 1.0  # a small piece left out, per line height that it is large


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """Neighbouring pieces of a line, `first` to `last - 1`, that could be one digit."""

    first: int
    last: int
    box: Box
    pixels: npt.NDArray[np.uint8]
    """(28, 28) as MNIST would have made it."""
    cost: float
    """What speaks against it, whatever it looks like."""


def as_line(pixels: npt.NDArray[np.uint8]) -> tuple[Line, list[Run]]:
    """Make a line of one digit, (28, 28) in MNIST's form."""
    rows, columns = extent(pixels > 0)
    box = (columns.start, rows.start, columns.stop, rows.stop)
    piece = Piece(box=box, mask=pixels[rows, columns] > 0, is_main=True, cut=None)
    return Line(height=box[3] - box[1], pieces=(piece,)), [Run(first=0, last=1, box=box, pixels=pixels, cost=0.0)]


def joined(pieces: Sequence[Piece]) -> Piece:
    """Put pieces that were cut from one another together again."""
    box = _around(pieces)
    return Piece(box=box, mask=_overlay(pieces, box), is_main=True, cut=None)


def whole_runs(found: InkMap, line: Line) -> Iterator[Run]:
    """List the runs that put pieces together again that were cut from one another."""
    starts = [index for index, piece in enumerate(line.pieces) if piece.cut is None]
    for first, last in pairwise([*starts, len(line.pieces)]):
        if last > first + 1 and np.ptp(_around(line.pieces[first:last])[::2]) <= _WIDEST * line.height:
            yield _run(found, line, first, last)


def line_runs(found: InkMap, line: Line) -> Iterator[Run]:
    """List the runs of a line's pieces that could be a digit."""
    for first in range(len(line.pieces)):
        for last in range(first + 1, min(first + _MOST_IN_DIGIT, len(line.pieces)) + 1):
            pieces = line.pieces[first:last]
            box = _around(pieces)
            if last > first + 1 and (box[2] - box[0] > _WIDEST * line.height or _are_two(line, pieces)):
                break
            if any(piece.is_main for piece in pieces):
                yield _run(found, line, first, last)


def limited(lines: Iterable[tuple[Line, Iterator[Run]]]) -> list[tuple[Line, list[Run]]]:
    """Draw the runs of lines, as many as a number could have.

    Raises:
        PictureError: There are more than ``MOST_RUNS``.
    """
    drawn, left = [], MOST_RUNS
    for line, runs in lines:
        drawn.append((line, list(islice(runs, left + 1))))
        left -= len(drawn[-1][1])
        if left < 0:
            raise PictureError(f"more than {MOST_RUNS} pieces of ink that could be digits: a page, and no number")
    return drawn


def _run(found: InkMap, line: Line, first: int, last: int) -> Run:
    pieces = line.pieces[first:last]
    box, (left, top) = _around(pieces), found.corner
    placed = (box[0] + left, box[1] + top, box[2] + left, box[3] + top)
    return Run(first=first, last=last, box=placed, pixels=_draw(found, pieces, box), cost=_cost(line, pieces, box))


def _are_two(line: Line, pieces: Sequence[Piece]) -> bool:
    """Say whether the last of some pieces plainly is another digit than those before it: drawing both is for nothing.

    The halves of one digit lie over one another, or nearer; a break in a stroke leaves less paper.
    """
    before, after = _around(pieces[:-1]), pieces[-1].box
    lower = min(before[3] - before[1], after[3] - after[1])
    return after[0] - before[2] >= _APART * line.height and lower >= _HIGH * line.height


def _around(pieces: Sequence[Piece]) -> Box:
    """Return the box around pieces."""
    left, top, right, bottom = zip(*(piece.box for piece in pieces), strict=True)
    return min(left), min(top), max(right), max(bottom)


def _draw(found: InkMap, pieces: Sequence[Piece], box: Box) -> npt.NDArray[np.uint8]:
    """Draw pieces of ink, with `box` around them, as MNIST would have: (28, 28) uint8."""
    height, width = found.mask.shape
    area = max(box[0] - 2, 0), max(box[1] - 2, 0), min(box[2] + 2, width), min(box[3] + 2, height)  # for soft edges
    mask = _overlay(pieces, area)
    near = slice(area[1], area[3]), slice(area[0], area[2])
    ink = cut_out(replace(found, ink=found.ink[near], mask=mask), mask)
    if stroke_width(ink) > _BLOT * max(ink.shape):
        return centre(to_box(ink))  # to bring so wide a pen to MNIST's would take long, and make no digit of it
    return normalise_ink(ink)


def _overlay(pieces: Sequence[Piece], area: Box) -> npt.NDArray[np.bool_]:
    """Lay pieces over one another: the mask of an area that they lie in."""
    mask = np.zeros((area[3] - area[1], area[2] - area[0]), bool)
    for piece in pieces:
        x, y = piece.box[0] - area[0], piece.box[1] - area[1]
        mask[y : y + piece.mask.shape[0], x : x + piece.mask.shape[1]] |= piece.mask
    return mask


def cut_cost(piece: Piece) -> float:
    """Say what speaks against a digit that begins with a piece, by what it took to cut it from the piece before."""
    if piece.cut is None:
        return 0.0
    return _CUT + _CUT_INK * piece.cut.ink + _CUT_NARROW * max(1.2 - piece.cut.width, 0)


def _cost(line: Line, pieces: Sequence[Piece], box: Box) -> float:
    """Say what speaks against pieces being a digit, before it is read, as the logarithm of a probability."""
    cost = cut_cost(pieces[0])
    reached = pieces[0].box[2]
    for piece in pieces[1:]:
        cost += _JOIN * (piece.is_main and piece.cut is None) + _GAP * max(piece.box[0] - reached, 0) / line.height
        reached = max(reached, piece.box[2])
    cost += _LOW * max(0.7 - (box[3] - box[1]) / line.height, 0)
    return cost + _WIDE * max((box[2] - box[0]) / line.height - 1, 0)


def best_way(line: Line, runs: Sequence[Run], probs: npt.NDArray[np.float64]) -> list[int]:
    """Choose runs that together are the whole line, but for small pieces left out, and are the likeliest.

    Args:
        line: The line.
        runs: What could be digits in it.
        probs: (runs,): how likely each is a digit that the network reads right.

    Returns:
        The indices of the chosen runs, from left to right.
    """
    scores = [0.0] + [-math.inf] * len(line.pieces)  # of the best way to have read all pieces before
    ways: list[list[int]] = [[] for _ in scores]
    ending: dict[int, list[int]] = {}
    for index, run in enumerate(runs):
        ending.setdefault(run.last, []).append(index)
    for last, piece in enumerate(line.pieces, start=1):
        if not piece.is_main:
            size = max(piece.mask.shape) / line.height
            scores[last], ways[last] = scores[last - 1] - _DROP * size, ways[last - 1]
        for index in ending.get(last, []):
            first = runs[index].first
            score = scores[first] + math.log(max(probs[index], 1e-12)) - runs[index].cost
            if score > scores[last]:
                scores[last], ways[last] = score, [*ways[first], index]
    return ways[-1]
