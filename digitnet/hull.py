"""What a mask encloses, and its convex hull: the hull's area, its tilt, its sides and corners."""

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
"""(N, 2): x and y of the corners of a convex polygon, in turn."""


def convex_hull(mask: npt.NDArray[np.bool_]) -> Points:
    """Find the smallest convex polygon around a mask's pixels, at least one, each of them a unit square.

    Source: A. Andrew, "Another efficient algorithm for convex hulls in two dimensions", 1979.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    y = np.concatenate([rows, rows + 1])
    left = _chain(y, np.tile(first, 2))
    right = _chain(y, -np.tile(last, 2))
    return np.array([(x, y) for y, x in left] + [(-x, y) for y, x in reversed(right)], dtype=np.float64)


def _chain(y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]) -> list[tuple[int, int]]:
    """Return the (y, x) at which the left side of the hull of points turns, from top to bottom."""
    chain: list[tuple[int, int]] = []
    for point in sorted(zip(y.tolist(), x.tolist(), strict=True)):
        if chain and chain[-1][0] == point[0]:  # further right in the same row
            continue
        while len(chain) > 1 and _turns_in(chain[-2], chain[-1], point):
            chain.pop()
        chain.append(point)
    return chain


def _turns_in(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> bool:
    """Say whether b is not left of the way from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])


def enclosed(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mark what has some of a mask on all four sides, and the mask itself."""
    rows = np.maximum.accumulate(mask, axis=1) & np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
    columns = np.maximum.accumulate(mask, axis=0) & np.maximum.accumulate(mask[::-1], axis=0)[::-1]
    inside: npt.NDArray[np.bool_] = rows & columns
    return inside


def area_of(polygon: Points) -> float:
    """Return the area of a polygon, by the shoelace formula."""
    (x, y), (next_x, next_y) = polygon.T, np.roll(polygon, -1, axis=0).T
    return abs(float((x * next_y - next_x * y).sum())) / 2


def tilt_of(polygon: Points) -> float:
    """Measure how far the smallest rectangle around a convex polygon is turned: degrees clockwise, from -45 to 45."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    angles = np.arctan2(edges[:, 1], edges[:, 0])
    along = np.cos(angles)[:, None] * polygon[:, 0] + np.sin(angles)[:, None] * polygon[:, 1]
    across = np.cos(angles)[:, None] * polygon[:, 1] - np.sin(angles)[:, None] * polygon[:, 0]
    degrees = np.degrees(angles[(np.ptp(along, axis=1) * np.ptp(across, axis=1)).argmin()])
    return float((degrees + 45) % 90 - 45)


def sides_of(polygon: Points) -> tuple[float, float]:
    """Measure the shorter and the longer side of the smallest rectangle around a convex polygon."""
    short, long = sorted(np.ptp(turn(polygon, -tilt_of(polygon)), axis=0).tolist())
    return short, long


def largest_quadrilateral(polygon: Points) -> Points:
    """Find the four corners (4, 2) of a convex polygon, of three at least, between which most of it lies.

    Of a quadrilateral it is all, of an ellipse 0.64.
    """
    gaps = polygon[None] - polygon[:, None]  # from i to j: (N, N, 2)
    sides = gaps[:, :, None, 0] * gaps[:, None, :, 1] - gaps[:, :, None, 1] * gaps[:, None, :, 0]  # twice i, j, k
    left, right = sides.max(axis=2), (-sides).max(axis=2)
    i, j = np.unravel_index(int((left + right).argmax()), left.shape)
    corners: Points = polygon[np.array([i, (-sides)[i, j].argmax(), j, sides[i, j].argmax()])]
    return corners


def turn(points: Points, degrees: float) -> Points:
    """Turn points about the origin, clockwise as y points down."""
    angle = np.radians(degrees)
    turned: Points = points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return turned
