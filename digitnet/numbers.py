"""From a picture with several digits to a number: which pieces of ink are a digit together, and which digit.

layout.py finds lines of pieces, and cuts them more often than need be. Here the network reads every run of
neighbouring pieces that could be one digit, all in one batch, and the best way through each line is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from digitnet.decoding import read_picture, upright
from digitnet.errors import BlankError, PictureError, printable
from digitnet.ink import InkMap, cut_out, map_ink
from digitnet.layout import Line, Piece, find_lines
from digitnet.modes import grey, reduce_to
from digitnet.normalise import as_mnist_form, normalise_ink
from digitnet.predictor import Classifier, Unreadable

Box = tuple[int, int, int, int]

_WORKING_SIDE = 800  # a line of ten digits needs more pixels than one digit
_MOST_IN_DIGIT = 9  # pieces: all those of a 2 with a long tail
_WIDEST = 2.0  # of a line's height: wider runs of pieces are no digit

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
    """The probability that all of them are right, in [0, 1]: the product of theirs."""
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
    lines, small = _find(picture, path)
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


def _find(picture: Image.Image, path: str | None) -> tuple[list[tuple[Line, list[Run]]], tuple[int, int]]:
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
    return [(line, list(_runs(found, line))) for line in lines], size


def _probabilities(classifier: Classifier, images: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float64]:
    """Read images of (28, 28): (N, 10) float64."""
    parts = [torch.from_numpy(np.stack(images[start : start + 256]))[:, None] for start in range(0, len(images), 256)]
    return np.concatenate([classifier.probabilities(part).double().numpy() for part in parts])


def _digit(box: Box, probs: npt.NDArray[np.float64], scale: tuple[float, float]) -> NumberDigit:
    left, top, right, bottom = (round(value * scale[axis % 2]) for axis, value in enumerate(box))
    return NumberDigit(digit=int(probs.argmax()), confidence=float(probs.max()), box=(left, top, right, bottom))


def _as_line(pixels: npt.NDArray[np.uint8]) -> tuple[Line, list[Run]]:
    """Make a line of one digit, (28, 28) in MNIST's form."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    piece = Piece(box=box, mask=pixels[box[1] : box[3], box[0] : box[2]] > 0, is_main=True, cut=None)
    return Line(height=box[3] - box[1], pieces=(piece,)), [Run(first=0, last=1, box=box, pixels=pixels, cost=0.0)]


def _runs(found: InkMap, line: Line) -> Iterator[Run]:
    """List the runs of a line's pieces that could be a digit."""
    for first in range(len(line.pieces)):
        for last in range(first + 1, min(first + _MOST_IN_DIGIT, len(line.pieces)) + 1):
            pieces = line.pieces[first:last]
            box = _around(pieces)
            if last > first + 1 and box[2] - box[0] > _WIDEST * line.height:
                break
            if any(piece.is_main for piece in pieces):
                pixels = _draw(found, pieces, box)
                left, top = found.corner
                placed = (box[0] + left, box[1] + top, box[2] + left, box[3] + top)
                yield Run(first=first, last=last, box=placed, pixels=pixels, cost=_cost(line, pieces, box))


def _around(pieces: Sequence[Piece]) -> Box:
    """Return the box around pieces."""
    left, top, right, bottom = zip(*(piece.box for piece in pieces), strict=True)
    return min(left), min(top), max(right), max(bottom)


def _draw(found: InkMap, pieces: Sequence[Piece], box: Box) -> npt.NDArray[np.uint8]:
    """Draw pieces of ink, with `box` around them, as MNIST would have: (28, 28) uint8."""
    left, top = max(box[0] - 2, 0), max(box[1] - 2, 0)  # with room for the soft edges
    near = slice(top, box[3] + 2), slice(left, box[2] + 2)
    mask = np.zeros_like(found.mask[near])
    for piece in pieces:
        x, y = piece.box[0] - left, piece.box[1] - top
        mask[y : y + piece.mask.shape[0], x : x + piece.mask.shape[1]] |= piece.mask
    return normalise_ink(cut_out(replace(found, ink=found.ink[near], mask=mask), mask))


def _cost(line: Line, pieces: Sequence[Piece], box: Box) -> float:
    """Say what speaks against pieces being a digit, before it is read, as the logarithm of a probability."""
    cut, cost = pieces[0].cut, 0.0
    if cut is not None:
        cost = _CUT + _CUT_INK * cut.ink + _CUT_NARROW * max(1.2 - cut.width, 0)
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
