"""The cells of a form, drawn around digits: their walls are taken away, and what is written over them stays.

A form is a piece of ink with straight sides, one cell or many that share walls, in which straight lines run from side
to side. Where no digit touches a wall, there is nothing to do here: layout.py leaves frames out. Arrays only.
"""

import numpy as np
import numpy.typing as npt

from digitnet.components import Components, connected, part_of, pixels_within
from digitnet.ruling import Rows, erase, find_lines

Mask = npt.NDArray[np.bool_]

_LEAST_SIDE = 48  # pixels: in less, lines are not looked for
_MOST_INK = 0.4  # of its box: walls are thin
_CORNERS = 0.15  # of a side, at either end, is left out where it is looked at: it may be turned
_STEEPEST = 0.12  # rise over run, as of ruled lines
_SIDES = 3  # of a form are straight at least: a digit may reach beyond one
_STRAIGHT, _OFF = 0.8, 0.02  # of a side lies so near to a straight line, in lengths of the side across
_MARGIN = 4  # pixels: a line is found where there is paper on both sides
_PASSES = 3  # walls of neighbours lie side by side
_ON_WALL = 0.5  # of a part lies where a wall was: a remnant
_DIGIT = 0.35  # of a cell's height, at least


def without_walls(mask: Mask, parts: Components) -> Mask:
    """Take the walls of cells away where digits touch them.

    Args:
        mask: (height, width) bool: where there is ink.
        parts: Its connected parts.

    Returns:
        (height, width) bool; `mask` itself where no digit touches a wall.
    """
    tall, wide = (parts.box[:, 2:] - parts.box[:, :2]).T
    may_be = (np.minimum(tall, wide) >= _LEAST_SIDE) & (parts.area <= _MOST_INK * tall * wide)
    cleared = mask
    for part in np.flatnonzero(may_be).tolist():
        top, left, bottom, right = parts.box[part]
        form = part_of(mask, parts, part)[top:bottom, left:right]
        written = _written(np.pad(form, _MARGIN)) if _is_angular(form) else None
        if written is not None:
            cleared = cleared.copy() if cleared is mask else cleared
            cleared[top:bottom, left:right] &= ~form | written[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return cleared


def _is_angular(form: Mask) -> bool:
    """Say whether the sides of a piece of ink are straight, as of a box, and of hardly any digit."""
    return sum(_is_straight(np.rot90(form, turns)) for turns in range(4)) >= _SIDES


def _is_straight(form: Mask) -> bool:
    """Say whether the upper side of a piece of ink is a straight line, level or nearly so, but for what overlaps it."""
    ends = round(_CORNERS * form.shape[1])
    side = form[:, ends : form.shape[1] - ends]
    depth, third = side.argmax(axis=0), side.shape[1] // 3
    rise = float(np.median(depth[-third:]) - np.median(depth[:third])) / (side.shape[1] - third)
    flat = depth - rise * np.arange(len(depth))
    near = np.abs(flat - np.median(flat)) <= max(2.0, _OFF * len(form))
    return abs(rise) <= _STEEPEST and bool((near & side.any(axis=0)).mean() >= _STRAIGHT)


def _written(form: Mask) -> Mask | None:
    """Take the walls out of a form; returns what is written over them, or None if nothing is or there are none."""
    left, tracks, rows, columns = form, np.zeros_like(form), list[Rows](), 0
    for _ in range(_PASSES):
        level = find_lines(left.astype(np.float32), 0.5)
        rest, on_level = erase(left.astype(np.float32), level, 0.5, np.inf)
        upright = find_lines(np.ascontiguousarray(left.T, np.float32), 0.5)
        turned, on_upright = erase(np.ascontiguousarray(rest.T), upright, 0.5, np.inf)
        left, tracks = turned.T > 0.5, tracks | on_level | on_upright.T
        rows += [line.centre for line in level]
        columns += len(upright)
        if not level and not upright:
            break
    if len(rows) < 2 or columns < 2:
        return None
    parts = connected(left)
    on_wall = pixels_within(left, parts, tracks)
    digit = parts.box[:, 2] - parts.box[:, 0] >= _DIGIT * _cell_height(rows)
    kept = on_wall <= _ON_WALL * parts.area
    if not (kept & digit).any():
        return None
    written = left.copy()
    written[left] = kept[parts.labels]
    return written


def _cell_height(walls: list[Rows]) -> float:
    """Measure how high a cell typically is, by the rows of level walls, two at least."""
    return float(np.median(np.diff(np.sort([wall.mean() for wall in walls]))))
