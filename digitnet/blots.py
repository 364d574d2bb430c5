"""Whether ink is a blot: a solid patch, with hardly any outline for its area. No pen draws a digit so."""

import numpy as np
import numpy.typing as npt

from digitnet.components import extent
from digitnet.hull import area_of, convex_hull, sides_of
from digitnet.normalise import stroke_width

Grey = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_AS_DARK = 1.5  # times as light as ink: still ink; paper in a shadow is lighter by more
_AROUND = 10  # pixels beyond the ink: where there is paper
_THICK = 0.34  # of the longer side is the mean stroke: half a disc's is, and no digit's
_FILLED = 0.45  # of its box
_SOLID = 0.92  # of its hull: two strokes that meet at an angle fill less
_COMPACT = 0.5  # widths to a length: what is slimmer may be a 1


def is_blot(grey: Grey, mask: Mask) -> bool:
    """Say whether strokes are a blot, even one whose inside was taken for paper, being wider than any stroke.

    Args:
        grey: (height, width) float32 in [0, 1], dark on light.
        mask: (height, width) bool, not empty: the strokes.
    """
    box = extent(mask)
    around = tuple(slice(max(side.start - _AROUND, 0), side.stop + _AROUND) for side in box)
    paper = float(np.percentile(grey[around], 95))
    mask, grey = mask[box], grey[box]
    if min(mask.shape) < _COMPACT * max(mask.shape):
        return False
    ink = float(grey[mask].mean())
    dark = min(_AS_DARK * (ink + 0.02), (ink + paper) / 2)  # pale ink is nearly as light as its paper
    if (grey < dark).mean() < _FILLED:
        return False
    patch = mask | (grey < dark)
    hull = convex_hull(patch)
    narrow, long = sides_of(hull)
    if patch.sum() < _SOLID * area_of(hull) or narrow < _COMPACT * long:
        return False
    return bool(stroke_width(patch.astype(np.float32)) > _THICK * max(patch.shape))
