"""Marks about a digit that are no part of it: a closed outline around it, a line below or above it.

They are told from strokes by where they lie: all other ink is well inside the outline, or well apart from the line.
Arrays only.
"""

import numpy as np
import numpy.typing as npt

from digitnet.components import Boxes, Components
from digitnet.hull import area_of, convex_hull, enclosed

Mask = npt.NDArray[np.bool_]

_MOST = 4  # marks that are looked for
_LEAST_PART = 0.05  # of the largest part: what is smaller may lie anywhere
_LEAST_INSIDE = 0.22  # of an outline's height: what is smaller in it is the dot of a 0
_DASH = 0.45  # of its height: what an upright dash in a 0 is lower than, and a 1 is not
_BAR = 0.2  # of a part's length is its breadth: a straight line
_SLASH = (22.0, 35.0)  # degrees from upright: what a line in a narrow 0, or a round one, is slanted by
_NARROW = 0.9  # widths to a height
_SURROUNDED = 0.8  # of the ink inside has the outline on all four sides; a circle may not quite be closed
_THIN = 0.5  # of what an outline encloses is its own ink
_CONVEX = 0.9  # of its hull is what it encloses
_LINE = 4  # times as wide as high
_APART, _NEAR = 0.12, 0.07  # of a digit's height between it and a line; and between it and one that is longer
_LONGER = 0.1  # of a digit's width on either side
_SLIM = 0.4  # widths to a height: a 1, which may have a foot


def find_marks(mask: Mask, parts: Components, used: Mask) -> tuple[Mask, Mask]:
    """Find the outlines around all other ink, and the lines below or above it, from the outside in.

    Args:
        mask: (height, width) bool: where there is ink.
        parts: Its connected parts.
        used: (parts,) bool: which of them count.

    Returns:
        Which parts are outlines, and which are lines, (parts,) bool each; never all that count.
    """
    outlines, lines = np.zeros((2, len(used)), np.bool_)
    for _ in range(_MOST):
        left = np.flatnonzero(used & ~outlines & ~lines)
        if len(left) < 2:
            break
        sides = parts.box[left, 2:] - parts.box[left, :2]
        for part in left[np.argsort(-sides.max(axis=1), kind="stable")[:_MOST]].tolist():
            others = left[left != part]
            rest = others[parts.area[others] >= _LEAST_PART * parts.area[others].max()]
            if _is_around(mask, parts, part, rest):
                outlines[part] = True
                break
            if _is_line(mask, parts, part, rest[~_line_shaped(parts)[rest]]):
                lines[part] = True
                break
        else:
            break
    return outlines, lines


def _pixels(mask: Mask, parts: Components, chosen: npt.NDArray[np.intp], box: npt.NDArray[np.intp]) -> Mask:
    """Cut the pixels of some parts out of a mask: those in a box (top, left, bottom, right)."""
    flags = np.zeros(len(parts.area), np.bool_)
    flags[chosen] = True
    result = np.zeros_like(mask)
    result[mask] = flags[parts.labels]
    return result[box[0] : box[2], box[1] : box[3]]


def _around(boxes: Boxes) -> npt.NDArray[np.intp]:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _is_around(mask: Mask, parts: Components, part: int, rest: npt.NDArray[np.intp]) -> bool:
    """Say whether a part is a closed outline with all the rest inside of it, and no 0 with a dot or a slash."""
    outer, inner = parts.box[part], _around(parts.box[rest])
    if (inner[:2] <= outer[:2]).any() or (inner[2:] >= outer[2:]).any():
        return False
    tall, wide = outer[2:] - outer[:2]
    if (parts.box[rest, 2:] - parts.box[rest, :2]).max() < _LEAST_INSIDE * max(tall, wide):
        return False
    outline, inside = _pixels(mask, parts, np.array([part]), outer), _pixels(mask, parts, rest, outer)
    inner_side = enclosed(outline)
    if inner_side[inside].mean() < _SURROUNDED or outline.sum() > _THIN * inner_side.sum():
        return False
    if inner_side.sum() < _CONVEX * area_of(convex_hull(outline)):
        return False
    square = bool(inner_side.mean() > 0.9)
    return len(rest) > 1 or not _is_slash(inside, narrow=wide < _NARROW * tall, square=square)


def _is_slash(inside: Mask, *, narrow: bool, square: bool) -> bool:
    """Say whether what is inside an outline is a straight stroke as in a 0: slanted, or too short for a 1."""
    if square:
        return False
    y, x = np.nonzero(inside)
    spread, axes = np.linalg.eigh(np.cov(x, y)) if len(x) > 2 else (np.ones(2), np.eye(2))
    if spread[0] > _BAR**2 * spread[1]:
        return False
    slant = float(np.degrees(np.arctan2(abs(axes[0, 1]), abs(axes[1, 1]))))
    return slant > _SLASH[0 if narrow else 1] or (narrow and bool(np.ptp(y) < _DASH * len(inside)))


def _line_shaped(parts: Components) -> Mask:
    """Say which parts are long, thin and nearly level: (parts,) bool."""
    tall, wide = (parts.box[:, 2:] - parts.box[:, :2]).T
    shaped: Mask = (parts.area * _LINE <= wide * wide) & (tall <= wide / 3)
    return shaped


def _is_line(mask: Mask, parts: Components, part: int, rest: npt.NDArray[np.intp]) -> bool:
    """Say whether a part is a line that runs below or above all the rest, and no bar of a 5, foot of a 1 or a 2."""
    if len(rest) == 0 or not _line_shaped(parts)[part]:
        return False
    line, inner = parts.box[part], _around(parts.box[rest])
    height, width = inner[2:] - inner[:2]
    if (parts.box[rest, 2] - parts.box[rest, 0]).max() < 2 * (line[2] - line[0]):
        return False
    over = min(inner[1] - line[1], line[3] - inner[3]) / max(width, _SLIM * height)
    if over < -_LONGER:
        return False
    near = line.copy()
    near[[1, 3]] = inner[[1, 3]]  # a line that falls or rises is looked at where the digit is
    rows = np.flatnonzero(_pixels(mask, parts, np.array([part]), near).any(axis=1)) + line[0]
    apart = max(rows[0] - inner[2], inner[0] - rows[-1] - 1) / height if len(rows) else 0.0
    return bool(apart >= (_NEAR if over > _LONGER and width > _SLIM * height else _APART))
