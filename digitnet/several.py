"""Whether a picture plainly holds several digits, by its ink alone. Which digits, numbers.py can read."""

import numpy as np

from digitnet.components import Boxes

_WIDEST_DIGIT = 2.5  # widths to a height
_LINE = 8  # widths to a height: a single part as low as this is a stroke, and no digits that touch
_LEAST_SEVERAL = 0.65  # of the highest part: what is lower may be a part of the same digit
_LEAST_GAP = 0.06  # of it: broken strokes leave less


def holds_several(boxes: Boxes) -> bool:
    """Say whether ink is that of several digits, so plainly that no network need be asked.

    They are apart, in a row, in rows or in a column, and about equally high; a digit whose strokes are broken has
    parts that overlap, or small ones, or hardly a gap between them. Or it is wider than any digit, and no single line.

    Args:
        boxes: (parts, 4), around the connected parts of the ink, without specks and rules; at least one.
    """
    tall, wide = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    if np.ptp(boxes[:, [1, 3]]) > _WIDEST_DIGIT * np.ptp(boxes[:, [0, 2]]):
        return len(boxes) > 1 or bool(wide[0] < _LINE * tall[0])
    high = tall >= _LEAST_SEVERAL * tall.max()
    if high.sum() < 2:
        return False
    least_gap = _LEAST_GAP * tall.max()
    column = boxes[high & (wide >= tall / 4)]  # the halves of a 1 are no column
    is_column = len(column) > 1 and np.ptp(column[:, [0, 2]]) > 1.8 * np.ptp(column[:, [1, 3]])
    rows = _rows(boxes[high], 3 * least_gap)
    return any((_gaps(row[:, [1, 3]]) >= least_gap).any() for row in rows) or (
        is_column and len(_rows(column, 3 * least_gap)) > 1
    )


def _rows(boxes: Boxes, least_gap: float) -> list[Boxes]:
    """Split boxes where there is paper all the way from left to right, so high."""
    boxes = boxes[np.argsort(boxes[:, 0])]
    return np.split(boxes, np.flatnonzero(_gaps(boxes[:, [0, 2]]) >= least_gap) + 1)


def _gaps(spans: Boxes) -> Boxes:
    """Return the stretches between spans (N, 2) that none of them covers, (N - 1,); below 0 where some overlap."""
    spans = spans[np.argsort(spans[:, 0])]
    gaps: Boxes = spans[1:, 0] - np.maximum.accumulate(spans[:, 1])[:-1]
    return gaps
