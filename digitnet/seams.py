"""Where touching digits may be parted: paths from top to bottom that cross little ink.

A path may lean and swerve, so that it follows the slant of the hand. Whether the parts are digits is for a network
to say; here are only the places worth trying. Arrays only.

Source: the paths are those of S. Avidan, A. Shamir, "Seam carving for content-aware image resizing", 2007, used as
the cuts of G. Congedo and others, "Segmentation of numeric strings", 1995, which let a drop fall between digits.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

_LEAN = 0.05  # what a step aside costs, where a pixel of ink costs 1: little, for hands slant
_SPACING = 0.12  # of the digits' height: paths that are nearer to each other, or to an end, give no new digits
_PER_HEIGHT = 4  # paths tried for a stretch as wide as the digits are high


class Seam(NamedTuple):
    """A path from the top of a mask to its bottom."""

    columns: npt.NDArray[np.intp]
    """(height,): the first pixel to the right of the path in each row."""
    ink: int
    """Pixels of ink on the path."""


def find_seams(mask: Mask, digit_height: float) -> list[Seam]:
    """Find the places where a stretch of ink could be cut into digits.

    Args:
        mask: (height, width) bool, its ink in one piece.
        digit_height: About how high a digit is, in pixels.

    Returns:
        Paths from left to right, by where they pass the middle row; none where the mask is too narrow.
    """
    height, width = mask.shape
    middle = height // 2
    down, up = _costs(mask[: middle + 1]), _costs(mask[middle:][::-1])
    through = down[-1] + up[-1] - mask[middle]
    through[through < 1] = np.inf  # around all the ink, which parts nothing
    spacing = max(2, round(_SPACING * digit_height))
    seams = []
    for column in _valleys(through, spacing, max(1, round(_PER_HEIGHT * width / digit_height))):
        columns = np.concatenate([_trace(down, column)[::-1], _trace(up, column)[1:]])
        crossed = mask[np.arange(height), columns]
        seams.append(Seam(columns, int(crossed.sum())))
    return seams


def _costs(mask: Mask) -> npt.NDArray[np.float32]:
    """Return what the cheapest path from the top to each pixel of a mask costs, (height, width) float32."""
    costs = mask.astype(np.float32)
    sides = np.full((2, mask.shape[1]), np.inf, np.float32)
    for row in range(1, len(costs)):
        above = costs[row - 1]
        sides[0, 1:], sides[1, :-1] = above[:-1], above[1:]
        costs[row] += np.minimum(above, sides.min(axis=0) + np.float32(_LEAN))
    return costs


def _trace(costs: npt.NDArray[np.float32], column: int) -> npt.NDArray[np.intp]:
    """Follow the cheapest path from a column of the last row back to the first; columns from the last row on."""
    path = [column]
    for row in costs[-2::-1]:
        left, here = max(path[-1] - 1, 0), path[-1]
        near = row[left : here + 2] + np.float32(_LEAN) * (np.arange(left, min(here + 2, len(row))) != here)
        path.append(left + int(near.argmin()))
    return np.array(path)


def _valleys(values: npt.NDArray[np.float32], spacing: int, count: int) -> list[int]:
    """Choose the `count` lowest places, each the lowest within `spacing` and no nearer to an end; in order."""
    chosen: list[int] = []
    for column in np.argsort(values[spacing:-spacing], kind="stable") + spacing:
        if values[column] < np.inf and len(chosen) < count and all(abs(column - other) >= spacing for other in chosen):
            chosen.append(int(column))
    return sorted(chosen)
