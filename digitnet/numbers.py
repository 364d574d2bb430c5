"""From a picture with several digits to a number: the network reads what could be a digit, and the likeliest is taken.

layout.py finds lines of pieces, and segments.py says which pieces could be one digit. Here the network reads all of
these in one batch, the best way through each line is chosen, and what is no number is turned away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from digitnet.config import REJECT_RATE
from digitnet.decoding import read_picture, upright
from digitnet.errors import BlankError, NoiseError, PictureError
from digitnet.ink import InkMap, map_ink
from digitnet.layout import Line, find_lines
from digitnet.modes import grey, reduce_to
from digitnet.normalise import as_mnist_form
from digitnet.predictor import Classifier
from digitnet.rejection import Thresholds, digit_score
from digitnet.segments import Box, Run, as_line, best_way, cut_cost, joined, limited, line_runs, whole_runs
from digitnet.sources import Packed, Source, Unreadable, named, path_of

Found = tuple[Line, list[Run]]

_WORKING_SIDE = 800  # a line of ten digits needs more pixels than one digit

# What of a score speaks against a run of pieces, beside how sure the network is of its digit: two digits that touch may
# look surely like a third, but hardly like a digit. Chosen as the costs in segments.py were, on strokes.
_DOUBTFUL = 0.05  # the share of real digits that score under where it begins to,
_DOUBT = 0.1  # and how much each unit below does, as the logarithm of a probability


@dataclass(frozen=True, kw_only=True)
class NumberDigit:
    """A digit of a number."""

    digit: int
    confidence: float
    """Its probability, in [0, 1], if it is a digit."""
    score: float
    """How much it is like a digit, as ``rejection.digit_score``."""
    accepted: bool
    """Whether that is enough; if not, the number is turned away for it."""
    box: Box
    """Left, top, right and bottom of its ink, the last two exclusive, in pixels of the picture in its file, upright."""


@dataclass(frozen=True, kw_only=True)
class NumberPrediction:
    """The number in one picture."""

    path: str | None
    """Where the picture came from; None when it was no file."""
    number: str
    """The digits from left to right, lines from top to bottom, a space between lines: ``134678 912532``.

    What they are likeliest to be, even of a picture that is turned away; empty where nothing could be a digit.
    """
    confidence: float
    """The probability that all of them are right, in [0, 1]: the product of theirs.

    0 where there is no ink, unlike ``Prediction``, which has probabilities to choose from there, all 0.1.
    """
    lines: tuple[tuple[NumberDigit, ...], ...]
    """The digits of each line."""
    reason: Literal["blank", "noise", "not a digit"] | None = None
    """Why the picture is turned away; None when it is accepted. Of a number, one digit that is none is enough."""

    @property
    def accepted(self) -> bool:
        """Whether the number is given as the answer."""
        return self.reason is None


class _Readings(NamedTuple):
    """What the network makes of N images."""

    probs: npt.NDArray[np.float64]
    """(N, 10)"""
    scores: npt.NDArray[np.float64]
    """(N,), of ``digit_score``."""
    likely: npt.NDArray[np.float64]
    """(N,): how likely each is a digit that is read right, to choose by."""


def read_number(
    classifier: Classifier, picture: str | Source | Image.Image, *, reject_rate: float = REJECT_RATE
) -> NumberPrediction:
    """Read the number in a picture, in one line or several, and turn away what is none.

    Args:
        classifier: What reads each digit.
        picture: A path, a picture's bytes with its path, or a PIL image.
        reject_rate: About what share of real numbers, in [0, 1], may be turned away with what is none, however many
            digits they have. 0 turns away only what has no ink that could be a digit, 1 everything.

    Raises:
        PictureError: The picture cannot be read, or is a whole page of ink.
        ValueError: The rate is not in [0, 1].
    """
    if isinstance(picture, Image.Image):
        turned = upright(picture)
        return _read(classifier, turned, turned.size, None, reject_rate)
    source = picture if isinstance(picture, Packed) else Path(picture)
    opened = read_picture(source)
    return _read(classifier, opened.picture, opened.size, source, reject_rate)


def read_numbers(
    classifier: Classifier, sources: Iterable[Source | Unreadable | None], *, reject_rate: float = REJECT_RATE
) -> Iterator[NumberPrediction | Unreadable]:
    """Read the number in each picture, one at a time, in the order given; a None among them is passed over.

    One that cannot be read does not stop the rest: an ``Unreadable`` takes its place, as it takes its own.
    """
    for source in sources:
        if isinstance(source, Unreadable):
            yield source
        elif source is not None:
            try:
                yield read_number(classifier, source, reject_rate=reject_rate)
            except PictureError as error:
                yield Unreadable(path=path_of(source), error=str(error))


def _read(
    classifier: Classifier, picture: Image.Image, size: tuple[int, int], source: Source | None, reject_rate: float
) -> NumberPrediction:
    """Read an upright picture, of which the file has `size` (width, height)."""
    path = None if source is None else path_of(source)
    try:
        lines, small = _find(classifier, picture)
    except BlankError as error:
        reason: Literal["blank", "noise"] = "noise" if isinstance(error, NoiseError) else "blank"
        return NumberPrediction(path=path, number="", confidence=0.0, lines=(), reason=reason)
    except PictureError as error:
        raise PictureError(f"{'the picture' if source is None else named(source)} holds {error}") from None
    if not lines:
        return NumberPrediction(path=path, number="", confidence=0.0, lines=(), reason="not a digit")
    readings = _read_images(classifier, [run.pixels for _, runs in lines for run in runs])
    chosen, start = [], 0  # (run, its index among the readings) of each line
    for line, runs in lines:
        way = best_way(line, runs, readings.likely[start : start + len(runs)])
        chosen.append([(runs[i], start + i) for i in way])
        start += len(runs)
    scores = [float(readings.scores[i]) for line in chosen for _, i in line]
    needed = _needed(classifier.checkpoint.calibration.thresholds, reject_rate, scores)
    scale = size[0] / small[0], size[1] / small[1]
    read = tuple(tuple(_digit(run.box, readings, i, needed, scale) for run, i in line) for line in chosen)
    return NumberPrediction(
        path=path,
        number=" ".join("".join(str(digit.digit) for digit in line) for line in read),
        confidence=math.prod(digit.confidence for line in read for digit in line),
        lines=read,
        reason=None if all(digit.accepted for line in read for digit in line) else "not a digit",
    )


def _find(classifier: Classifier, picture: Image.Image) -> tuple[list[Found], tuple[int, int]]:
    """Find lines, each with the runs that could be digits, and the width and height of what they were found in."""
    ready = as_mnist_form(picture)
    if ready is not None:  # one digit, which is read as it is
        return [as_line(ready[0])], picture.size
    brightness = grey(reduce_to(picture, _WORKING_SIDE))
    found = map_ink(brightness)
    lines = _keep_whole(classifier, found, find_lines(found.ink > found.threshold))
    return limited((line, line_runs(found, line)) for line in lines), (brightness.shape[1], brightness.shape[0])


def _read_images(classifier: Classifier, images: Sequence[npt.NDArray[np.uint8]]) -> _Readings:
    """Read images of (28, 28), at least one."""
    parts = [torch.from_numpy(np.stack(images[start : start + 256]))[:, None] for start in range(0, len(images), 256)]
    logits = torch.cat([classifier.calibrated_logits(part) for part in parts])
    probs, scores = logits.double().softmax(1).numpy(), digit_score(logits).numpy()
    doubt = _DOUBT * np.maximum(classifier.checkpoint.calibration.thresholds.score(_DOUBTFUL) - scores, 0)
    return _Readings(probs, scores, probs.max(axis=1) * np.exp(-doubt))


def _needed(thresholds: Thresholds, reject_rate: float, scores: Sequence[float]) -> float:
    """Return the score that each of a number's digits needs for a share of real numbers to be turned away.

    Of n independent digits of which a share r is turned away, at least one is with probability 1 - (1 - r) ** n: each
    of many is allowed a lower score than one alone. But not where more than half of them need that, as on a page of
    what is no writing.

    Source: Z. Sidak, "Rectangular confidence regions for the means of multivariate normal distributions", 1967.
    """
    alone = thresholds.score(reject_rate)
    if not scores or np.median(scores) < alone:
        return alone
    return thresholds.score(1 - (1 - reject_rate) ** (1 / len(scores)))


def _digit(box: Box, readings: _Readings, index: int, needed: float, scale: tuple[float, float]) -> NumberDigit:
    left, top, right, bottom = (round(value * scale[axis % 2]) for axis, value in enumerate(box))
    probs, score = readings.probs[index], float(readings.scores[index])
    return NumberDigit(
        digit=int(probs.argmax()),
        confidence=float(probs.max()),
        score=score,
        accepted=score >= needed,
        box=(left, top, right, bottom),
    )


def _keep_whole(classifier: Classifier, found: InkMap, lines: Sequence[Line]) -> list[Line]:
    """Undo the cuts of ink that so surely is one digit that none pays: of most, whose runs need no drawing then."""
    kept = [list(line.pieces) for line in lines]
    wholes = [(index, run) for index, line in enumerate(lines) for run in whole_runs(found, line)]
    if not wholes:
        return list(lines)
    likely = _read_images(classifier, [run.pixels for _, run in wholes]).likely
    for (index, run), prob in reversed(list(zip(wholes, likely, strict=True))):
        pieces = kept[index][run.first : run.last]
        least = min(cut_cost(piece) for piece in pieces[1:])
        if run.cost - math.log(max(prob, 1e-12)) < least:
            kept[index][run.first : run.last] = [joined(pieces)]
    return [replace(line, pieces=tuple(pieces)) for line, pieces in zip(lines, kept, strict=True)]
