"""Ruled lines, squares and margins on paper: found, and taken away without the strokes that they cross.

A printed line is long, thin and straight, and runs from side to side. It is looked for among all straight lines that
are nearly level (a Radon transform over a few degrees); the upright ones are the level ones of the turned picture.
Taking it away is what readers of sheet music do with staff lines: where the ink across the line is no thicker than
the line, it is the line; where it is thicker, or darker, a stroke crosses and stays whole.
Source: I. Fujinaga, "Staff detection and removal", in Visual Perception of Music Notation, 2004.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from digitnet.normalise import stroke_width
from digitnet.paper import PHOTO_SIDE

Grey = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.float64]

_STEEPEST = 0.12  # rise over run: 7 degrees
_ROWS, _PLACES = 400, 48  # at most so many rows, and exactly so many places along a line, are looked at
_COVER = 0.6  # of a line must be ink; faint and blurred ones have gaps
_MOST = 80  # lines that are looked for in a picture
_MANY = 3  # parallel lines from side to side: no digit has as many
_THIN, _FAINT = 0.6, 0.75  # of the rest of the ink: what a lone line must be thinner or paler than
_THICKEST = 0.05  # of the shorter side
_LEAST_INK = 0.0005  # of a picture: what is less is no digit
_DEEPEST = 0.12  # of a side: the dark edge of a scan
_REACH = 0.04  # of a picture's sides: what runs from side to side has ink there


@dataclass(frozen=True, kw_only=True)
class Line:
    """A nearly level line right across a picture."""

    centre: Rows
    """(width,): its row in each column; outside of the picture where it leaves it."""
    thickness: float
    """Pixels, soft edges included."""
    level: float
    """How much light is missing on it."""


@dataclass(frozen=True, kw_only=True)
class Cleared:
    """A map of ink without ruled lines."""

    ink: Grey
    """(height, width) float32: the share of the paper's light that is missing."""
    tracks: Mask | None
    """(height, width) bool: where lines were; None if there were none."""
    count: int
    """How many lines there were."""


def remove_lines(ink: Grey, threshold: float) -> Cleared:
    """Take ruled lines out of a map of ink.

    Args:
        ink: (height, width) float32: the share of the paper's light that is missing.
        threshold: What of it is a stroke.
    """
    level = _remove_level(ink, threshold)
    turned = _remove_level(level.ink.T, threshold)
    if turned.tracks is None:
        return level
    tracks = turned.tracks.T if level.tracks is None else turned.tracks.T | level.tracks
    return Cleared(ink=np.ascontiguousarray(turned.ink.T), tracks=tracks, count=level.count + turned.count)


def inside_of(ink: Grey, threshold: float) -> tuple[slice, slice]:
    """Find what lies within the dark edges of a scan: strips that fill a side of the picture from corner to corner.

    Args:
        ink: (height, width) float32: the share of the paper's light that is missing.
        threshold: What of it is a stroke.

    Returns:
        The rows and columns without the strips; all of them where there are none.
    """
    height, width = ink.shape
    if min(ink.shape) < PHOTO_SIDE:
        return slice(0, height), slice(0, width)
    top, left, bottom, right = (_edge_depth(np.rot90(ink, turns), threshold) for turns in (0, -1, 2, 1))
    inside = slice(top, height - bottom), slice(left, width - right)
    return inside if (ink[inside] > threshold).mean() > _LEAST_INK else (slice(0, height), slice(0, width))


def _edge_depth(ink: Grey, threshold: float) -> int:
    """Measure the strip that fills the top of a picture: its rows, 0 if there is none."""
    deepest = round(_DEEPEST * len(ink))
    gap = ink[: 2 * deepest] <= threshold / 2
    depth = np.where(gap.any(axis=0), gap.argmax(axis=0), 2 * deepest)
    if (depth > 0).mean() < 0.97 or np.median(depth) > deepest:
        return 0
    return int(np.percentile(depth, 75)) + 2  # strokes that run into it are deeper


def _remove_level(ink: Grey, threshold: float) -> Cleared:
    """Take nearly level lines out of a map of ink; it comes back untouched where there are none."""
    untouched = Cleared(ink=ink, tracks=None, count=0)
    if min(ink.shape) < PHOTO_SIDE or not _reaches_across(ink > threshold):
        return untouched
    lines = find_lines(ink, threshold)
    rest, _ = erase(ink, lines, threshold, np.inf)
    mask = rest > threshold
    if not lines or mask.mean() < _LEAST_INK:  # lines alone may be a digit
        return untouched
    stroke = float(np.percentile(rest[mask], 75))
    if len(lines) < _MANY:
        width = stroke_width(mask.astype(np.float32))
        lines = [line for line in lines if line.thickness < _THIN * width or line.level < _FAINT * stroke]
    if not lines:
        return untouched
    cleared, tracks = erase(ink, lines, threshold, stroke)
    return Cleared(ink=cleared, tracks=tracks, count=len(lines))


def _reaches_across(mask: Mask) -> bool:
    """Say whether there is ink at the left and at the right of a mask."""
    depth = max(1, round(_REACH * mask.shape[1]))
    return bool(mask[:, :depth].any() and mask[:, -depth:].any())


def find_lines(ink: Grey, threshold: float) -> list[Line]:
    """Find the nearly level lines that run across a map of ink, strongest first."""
    soft = (ink / np.float32(threshold)).clip(0, 1)
    samples, step = _sample(soft)
    rises, cover = radon(samples, _STEEPEST * ink.shape[1] / step)
    thickest = max(3.0, _THICKEST * min(ink.shape))
    found: list[Line] = []
    for _ in range(_MOST):
        index, row = np.unravel_index(int(cover.argmax()), cover.shape)
        if cover[index, row] < _COVER:
            break
        line = trace(soft, ink, (row + 0.5) * step - 0.5, rises[index] * step)
        near = 2
        if line is not None:
            near = max(near, round(line.thickness / step))
            if line.thickness <= thickest and not any(_are_one(line, other) for other in found):
                found.append(line)
        cover[:, max(row - near, 0) : row + near + 1] = 0
    return found


def _are_one(line: Line, other: Line) -> bool:
    return float(np.abs(line.centre - other.centre).mean()) < (line.thickness + other.thickness) / 2 + 1


def _sample(soft: Grey) -> tuple[Grey, int]:
    """Reduce the rows by the maximum, so that a thin line keeps its ink, and the columns by the mean."""
    step = -(-soft.shape[0] // _ROWS)
    height, width = soft.shape[0] // step * step, soft.shape[1] // _PLACES * _PLACES
    columns = soft[:height, :width].reshape(height, _PLACES, -1).mean(axis=2)
    return columns.reshape(-1, step, _PLACES).max(axis=1), step


def radon(samples: Grey, steepest: float) -> tuple[Rows, Grey]:
    """Average samples along all nearly level lines.

    Args:
        samples: (height, places) float32 in [0, 1]; the places are evenly spread from side to side.
        steepest: The most that a line may rise from side to side, in rows.

    Returns:
        (rises,): rows from the left end to the right one; and (rises, height) float32: the mean along the line of
        each rise that is in a row at the middle; 0 for one that is for the most part outside.
    """
    height, places = samples.shape
    most = round(steepest)
    rises = np.arange(-most, most + 1, dtype=np.float64)
    shifts = np.rint(rises[:, None] * (np.arange(places) / (places - 1) - 0.5)).astype(np.intp) + most
    windows = np.lib.stride_tricks.sliding_window_view
    padded = np.ascontiguousarray(np.pad(samples, ((most, most), (0, 0))).T)
    inside = windows(np.pad(np.ones(height, np.float32), most), height)
    total, count = np.zeros((2, len(rises), height), np.float32)
    for place in range(places):
        total += windows(padded[place], height)[shifts[:, place]]
        count += inside[shifts[:, place]]
    return rises, np.where(count > 0.6 * places, total / np.maximum(count, 1), 0)


def trace(soft: Grey, ink: Grey, row: float, rise: float) -> Line | None:
    """Follow a line from side to side, bent as paper is, and measure it; None if it does not go all the way."""
    height, width = soft.shape
    place = np.arange(width) / max(width - 1, 1) - 0.5
    centre: Rows = row + rise * place
    for slack in (4, 2, 1):
        length, run = _runs(soft, centre, 0.5, 20, slack)
        usual = np.percentile(length[length > 0], 35) if (length > 0).any() else 0  # a bar may lie on half of it
        use = (length > 0) & (length <= 1.5 * usual + 1)  # not where a stroke crosses
        if use.sum() < width / 5:
            return None
        middle = (run * np.arange(-20, 21)[:, None]).sum(axis=0)[use] / length[use] + np.rint(centre[use])
        near = np.abs(middle - centre[use] - np.median(middle - centre[use])) <= slack
        centre = _parabola(place, place[use][near], middle[near])
    inside = (centre >= 0) & (centre <= height - 1)
    on = inside & (_band(soft, centre, 1)[0].max(axis=0) > 0.5)
    if not inside.any() or on.sum() < 0.7 * inside.sum():
        return None
    level = float(np.percentile(_band(ink, centre, 1)[0].max(axis=0)[on], 40))
    thickness = float(np.percentile(_runs(ink, centre, level / 2, 20)[0][on], 40))
    return Line(centre=centre, thickness=thickness, level=level)


def _parabola(where: Rows, x: Rows, y: Rows) -> Rows:
    """Evaluate at `where` the parabola that fits y over x best."""
    powers = np.stack([np.ones_like(x), x, x * x])
    factors = np.linalg.lstsq(powers @ powers.T, powers @ y, rcond=1e-9)[0]
    fitted: Rows = factors[0] + where * (factors[1] + where * factors[2])
    return fitted


def _band(values: Grey, centre: Rows, reach: int) -> tuple[Grey, npt.NDArray[np.intp]]:
    """Cut out the rows around a line: (2 reach + 1, width) of `values`, and which rows they are."""
    rows = np.rint(centre).astype(np.intp) + np.arange(-reach, reach + 1)[:, None]
    return values[rows.clip(0, len(values) - 1), np.arange(values.shape[1])], rows


def _runs(ink: Grey, centre: Rows, least: float, reach: int, slack: int = 1) -> tuple[Grey, Mask]:
    """Measure the unbroken ink across a line: its length in each column, and (2 reach + 1, width) where it is."""
    band, _ = _band(ink, centre, reach)
    near = band[reach - slack : reach + slack + 1]  # it may lie a little beside its middle
    start = reach - slack + np.argmax(near, axis=0)
    index = np.arange(len(band))[:, None]
    gap = band <= least
    first = np.where(gap & (index <= start), index, -1).max(axis=0) + 1
    last = np.where(gap & (index >= start), index, len(band)).min(axis=0)
    return (last - first).clip(0).astype(np.float32), (index >= first) & (index < last)


def erase(ink: Grey, lines: list[Line], threshold: float, stroke: float) -> tuple[Grey, Mask]:
    """Take lines away where nothing thicker or darker than they are crosses.

    Args:
        ink: (height, width) float32.
        lines: What to erase.
        threshold: What of `ink` is a stroke.
        stroke: How dark strokes are; infinite if that is not known.

    Returns:
        The ink that is left, and (height, width) bool: all places where the lines ran.
    """
    cleared, tracks = ink.copy(), np.zeros(ink.shape, np.bool_)
    for line in lines:
        limit = 1.4 * line.thickness + 1
        reach = int(limit) + 2
        length, run = _runs(cleared, line.centre, min(line.level / 2, threshold), reach)
        core, _ = _band(cleared, line.centre, 1)
        dark = (core.max(axis=0) > (line.level + stroke) / 2) & (stroke > 1.2 * line.level)
        keep = _open((length > limit) | dark, max(2, round(0.7 * line.thickness)))
        gone = run & ~keep
        gone[1:] |= run[:-1] & ~keep  # the soft edge
        gone[:-1] |= run[1:] & ~keep
        rows = np.rint(line.centre).astype(np.intp) + np.arange(-reach, reach + 1)[:, None]
        on = np.abs(rows - line.centre) <= line.thickness / 2 + 1.5
        inside = (rows >= 0) & (rows < len(ink))
        for flags, target, value in ((gone & inside, cleared, 0), (on & inside, tracks, True)):
            place = np.nonzero(flags)
            target[rows[place], place[1]] = value
    return cleared, tracks


def _open(flags: Mask, least: int) -> Mask:
    """Clear the runs of flags that are shorter than `least`."""
    edges = np.flatnonzero(np.diff(np.pad(flags.astype(np.int8), 1)))
    starts, ends = edges[::2], edges[1::2]
    kept = flags.copy()
    for start, end in zip(starts, ends, strict=True):
        kept[start:end] = end - start >= least
    return kept
