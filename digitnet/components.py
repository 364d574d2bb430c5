"""What a mask reaches over, and its connected parts, in numpy alone: quick enough to do without SciPy."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.intp]
"""(parts, 4): top, left, bottom, right; the last two exclusive."""


class Components(NamedTuple):
    """The connected parts of a mask, numbered from 0."""

    labels: npt.NDArray[np.intp]
    """(ink pixels,): the part of each True pixel of the mask, in reading order."""
    area: npt.NDArray[np.intp]
    """(parts,): pixels in each."""
    box: Boxes


def extent(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and the columns that a mask's True pixels, at least one, reach over."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def connected(mask: npt.NDArray[np.bool_]) -> Components:
    """Number the 8-connected parts of a mask, by joining the runs of neighbouring rows.

    Args:
        mask: (height, width) bool.
    """
    width = mask.shape[1] + 2
    step = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(step == 1)
    end = np.nonzero(step == -1)[1]  # exclusive
    # In the row below, the runs that touch run i are those from the first that ends at or after its start to
    # the last that starts at or before its end; keys in reading order let one search do all rows.
    below = (row + 1) * width
    first = np.searchsorted(row * width + end, below + start, side="left")
    last = np.searchsorted(row * width + start, below + end, side="right")
    count = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(row)), count)
    lower = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    label = _join(len(row), upper, lower)
    parts = int(label.max(initial=-1)) + 1
    area = np.bincount(label, weights=end - start, minlength=parts).astype(np.intp)
    box = np.tile(np.array([mask.shape[0], width, 0, 0], dtype=np.intp), (parts, 1))
    np.minimum.at(box[:, 0], label, row)
    np.minimum.at(box[:, 1], label, start)
    np.maximum.at(box[:, 2], label, row + 1)
    np.maximum.at(box[:, 3], label, end)
    return Components(np.repeat(label, end - start), area, box)


def part_of(mask: npt.NDArray[np.bool_], parts: Components, part: int) -> npt.NDArray[np.bool_]:
    """Return one part of a mask as a mask, (height, width) bool."""
    alone = np.zeros_like(mask)
    alone[mask] = parts.labels == part
    return alone


def pixels_within(mask: npt.NDArray[np.bool_], parts: Components, where: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Count how many pixels of each part of a mask lie in another mask `where`: (parts,)."""
    return np.bincount(parts.labels[where[mask]], minlength=len(parts.area))


def _join(count: int, left: npt.NDArray[np.intp], right: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Number `count` things so that each pair (left, right) has one number (union-find on whole arrays)."""
    root = np.arange(count)
    while True:
        a, b = root[left], root[right]
        if np.array_equal(a, b):
            return np.unique(root, return_inverse=True)[1]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(root, root[root]):
            root = root[root]
