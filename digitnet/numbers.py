"""From a picture with several digits to a number: which pieces of ink are a digit together, and which digit.

layout.py finds lines of pieces, and cuts them more often than need be. Here the network reads every run of
neighbouring pieces that could be one digit, all in one batch, and the best way through each line is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from digitnet.components import extent
from digitnet.decoding import read_picture, upright
from digitnet.errors import BlankError, PictureError, printable
from digitnet.ink import InkMap, cut_out, map_ink
from digitnet.layout import Line, Piece, find_lines
from digitnet.modes import grey, reduce_to
from digitnet.normalise import as_mnist_form, normalise_ink
from digitnet.predictor import Classifier, Unreadable

Box = tuple[int, int, int, int]
Found = tuple[Line, list["Run"]]

_WORKING_SIDE = 800  # a line of ten digits needs more pixels than one digit
_MOST_IN_DIGIT = 9  # pieces: all those of a 2 with a long tail
_WIDEST = 2.0  # of a line's height: wider runs of pieces are no digit
_APART = 0.15  # of it: what is so far from the next, and both are nearly as high as the line, is no digit with it
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


@dataclass(frozen=True, kw_only=True)
class NumberDigit:
    """A digit of a number."""

    digit: int
    confidence: float
    """Its probability, in [0, 1]."""
    box: Box
    """Left, top, right and bottom of its ink, the last two exclusive, in pixels of the picture in its file, upright."""


@dataclass(frozen=True, kw_only=True)
class NumberPrediction:
    """The number in one picture."""

    path: str | None
    """Where the picture came from; None when it was no file."""
    number: str
    """The digits from left to right, lines from top to bottom, a space between lines: ``134678 912532``."""
    confidence: float
    """The probability that all of them are right, in [0, 1]: the product of theirs.

    0 where there is no ink, unlike ``Prediction``, which has probabilities to choose from there, all 0.1.
    """
    lines: tuple[tuple[NumberDigit, ...], ...]
    """The digits of each line."""
    reason: Literal["blank"] | None = None
    """Why the picture is turned away; None when it is accepted. Specks and rules alone are blank, too."""

    @property
    def accepted(self) -> bool:
        """Whether there is a number."""
        return self.reason is None


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


def read_number(classifier: Classifier, picture: str | Path | Image.Image) -> NumberPrediction:
    """Read the number in a picture, in one line or several.

    Args:
        classifier: What reads each digit.
        picture: A path or a PIL image.

    Raises:
        PictureError: The picture cannot be read, or is a whole page of ink.
    """
    if isinstance(picture, Image.Image):
        turned = upright(picture)
        return _read(classifier, turned, turned.size, None)
    opened = read_picture(Path(picture))
    return _read(classifier, opened.picture, opened.size, str(picture))


def read_numbers(classifier: Classifier, paths: Iterable[Path | None]) -> Iterator[NumberPrediction | Unreadable]:
    """Read the number in each file, one at a time, in the order given; a None among them is passed over.

    A file that cannot be read does not stop the rest: an ``Unreadable`` takes its place.
    """
    for path in paths:
        if path is not None:
            try:
                yield read_number(classifier, path)
            except PictureError as error:
                yield Unreadable(path=str(path), error=str(error))


def _read(classifier: Classifier, picture: Image.Image, size: tuple[int, int], path: str | None) -> NumberPrediction:
    """Read an upright picture, of which the file has `size` (width, height)."""
    lines, small = _find(classifier, picture, path)
    if not lines:
        return NumberPrediction(path=path, number="", confidence=0.0, lines=(), reason="blank")
    probs = _probabilities(classifier, [run.pixels for _, runs in lines for run in runs])
    scale = size[0] / small[0], size[1] / small[1]
    read, start = [], 0
    for line, runs in lines:
        rows = probs[start : start + len(runs)]
        start += len(runs)
        read.append(tuple(_digit(runs[i].box, rows[i], scale) for i in best_way(line, runs, rows.max(axis=1))))
    number = " ".join("".join(str(digit.digit) for digit in line) for line in read)
    confidence = math.prod(digit.confidence for line in read for digit in line)
    return NumberPrediction(path=path, number=number, confidence=confidence, lines=tuple(read))


def _find(classifier: Classifier, picture: Image.Image, path: str | None) -> tuple[list[Found], tuple[int, int]]:
    """Find lines, each with the runs that could be digits, and the width and height of what they were found in."""
    ready = as_mnist_form(picture)
    if ready is not None:  # one digit, which is read as it is
        return [_as_line(ready[0])], picture.size
    brightness = grey(reduce_to(picture, _WORKING_SIDE))
    size = brightness.shape[1], brightness.shape[0]
    try:
        found = map_ink(brightness)
        lines = find_lines(found.ink > found.threshold)
    except BlankError:
        return [], size
    except PictureError as error:
        raise PictureError(f"{'the picture' if path is None else printable(path)} holds {error}") from None
    return [(line, list(_runs(found, line))) for line in _keep_whole(classifier, found, lines)], size


def _probabilities(classifier: Classifier, images: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float64]:
    """Read images of (28, 28): (N, 10) float64."""
    parts = [torch.from_numpy(np.stack(images[start : start + 256]))[:, None] for start in range(0, len(images), 256)]
    return np.concatenate([classifier.probabilities(part).double().numpy() for part in parts])


def _digit(box: Box, probs: npt.NDArray[np.float64], scale: tuple[float, float]) -> NumberDigit:
    left, top, right, bottom = (round(value * scale[axis % 2]) for axis, value in enumerate(box))
    return NumberDigit(digit=int(probs.argmax()), confidence=float(probs.max()), box=(left, top, right, bottom))


def _as_line(pixels: npt.NDArray[np.uint8]) -> tuple[Line, list[Run]]:
    """Make a line of one digit, (28, 28) in MNIST's form."""
    rows, columns = extent(pixels > 0)
    box = (columns.start, rows.start, columns.stop, rows.stop)
    piece = Piece(box=box, mask=pixels[rows, columns] > 0, is_main=True, cut=None)
    return Line(height=box[3] - box[1], pieces=(piece,)), [Run(first=0, last=1, box=box, pixels=pixels, cost=0.0)]


def _keep_whole(classifier: Classifier, found: InkMap, lines: Sequence[Line]) -> list[Line]:
    """Undo the cuts of ink that so surely is one digit that none pays: of most, whose runs need no drawing then."""
    kept = [list(line.pieces) for line in lines]
    wholes = [(index, run) for index, line in enumerate(lines) for run in _wholes(found, line)]
    probs = _probabilities(classifier, [run.pixels for _, run in wholes]).max(axis=1) if wholes else []
    for (index, run), prob in reversed(list(zip(wholes, probs, strict=True))):
        pieces = kept[index][run.first : run.last]
        least = min(_cut_cost(piece) for piece in pieces[1:])
        if run.cost - math.log(max(prob, 1e-12)) < least:
            box = _around(pieces)
            whole = Piece(box=box, mask=_overlay(pieces, box), is_main=True, cut=None)
            kept[index][run.first : run.last] = [whole]
    return [replace(line, pieces=tuple(pieces)) for line, pieces in zip(lines, kept, strict=True)]


def _wholes(found: InkMap, line: Line) -> Iterator[Run]:
    """List the runs that put pieces together again that were cut from one another."""
    starts = [index for index, piece in enumerate(line.pieces) if piece.cut is None]
    for first, last in pairwise([*starts, len(line.pieces)]):
        if last > first + 1 and np.ptp(_around(line.pieces[first:last])[::2]) <= _WIDEST * line.height:
            yield _run(found, line, first, last)


def _runs(found: InkMap, line: Line) -> Iterator[Run]:
    """List the runs of a line's pieces that could be a digit."""
    for first in range(len(line.pieces)):
        for last in range(first + 1, min(first + _MOST_IN_DIGIT, len(line.pieces)) + 1):
            pieces = line.pieces[first:last]
            box = _around(pieces)
            if last > first + 1 and (box[2] - box[0] > _WIDEST * line.height or _are_two(line, pieces)):
                break
            if any(piece.is_main for piece in pieces):
                yield _run(found, line, first, last)


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
    return normalise_ink(cut_out(replace(found, ink=found.ink[near], mask=mask), mask))


def _overlay(pieces: Sequence[Piece], area: Box) -> npt.NDArray[np.bool_]:
    """Lay pieces over one another: the mask of an area that they lie in."""
    mask = np.zeros((area[3] - area[1], area[2] - area[0]), bool)
    for piece in pieces:
        x, y = piece.box[0] - area[0], piece.box[1] - area[1]
        mask[y : y + piece.mask.shape[0], x : x + piece.mask.shape[1]] |= piece.mask
    return mask


def _cut_cost(piece: Piece) -> float:
    """Say what speaks against a digit that begins with a piece, by what it took to cut it from the piece before."""
    if piece.cut is None:
        return 0.0
    return _CUT + _CUT_INK * piece.cut.ink + _CUT_NARROW * max(1.2 - piece.cut.width, 0)


def _cost(line: Line, pieces: Sequence[Piece], box: Box) -> float:
    """Say what speaks against pieces being a digit, before it is read, as the logarithm of a probability."""
    cost = _cut_cost(pieces[0])
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
        probs: (runs,): how sure the network is of each.

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
