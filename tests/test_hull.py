"""The convex hull, against definitions worked out by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitnet import hull

MASKS = st.builds(
    lambda height, width, seed, share: np.random.default_rng(seed).random((height, width)) < share,
    *(st.integers(1, 14), st.integers(1, 14), st.integers(0, 2**32 - 1), st.floats(0.05, 1)),
).filter(lambda mask: mask.any())


class TestHull:
    @settings(max_examples=80, deadline=None)
    @given(MASKS)
    def test_is_convex_and_holds_all_pixels(self, mask):
        polygon = hull.convex_hull(mask)
        y, x = np.nonzero(mask)
        corners = np.array([(a + dx, b + dy) for a, b in zip(x, y, strict=True) for dx in (0, 1) for dy in (0, 1)])
        edges = np.roll(polygon, -1, axis=0) - polygon
        for start, edge in zip(polygon, edges, strict=True):  # all points are on one side of every edge
            side = edge[0] * (corners[:, 1] - start[1]) - edge[1] * (corners[:, 0] - start[0])
            assert (side <= 1e-9).all()
        assert {tuple(point) for point in polygon} <= {tuple(point) for point in corners.astype(float)}
        assert hull.area_of(polygon) >= mask.sum()

    @settings(max_examples=40, deadline=None)
    @given(st.floats(-44, 44), st.floats(1, 9), st.floats(10, 20))
    def test_tilt_and_sides_of_a_rectangle(self, tilt, short, long):
        box = np.array([(0, 0), (long, 0), (long, short), (0, short)])
        turned = hull.turn(box, tilt) + 5
        assert hull.tilt_of(turned) == pytest.approx(tilt, abs=1e-6)
        assert hull.sides_of(turned) == pytest.approx((short, long))
        assert hull.area_of(turned) == pytest.approx(short * long)

    def test_largest_quadrilateral(self):
        angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        ellipse = np.stack([9 * np.cos(angle), 5 * np.sin(angle)], axis=1)
        share = hull.area_of(hull.largest_quadrilateral(ellipse)) / hull.area_of(ellipse)
        assert share == pytest.approx(2 / np.pi, abs=0.01)
        cut = np.array([(1, 0), (10, 0), (10, 10), (0, 10), (0, 1)], float)
        assert hull.area_of(hull.largest_quadrilateral(cut)) >= 94.5

    @settings(max_examples=60, deadline=None)
    @given(MASKS)
    def test_enclosed_against_a_look_in_four_directions(self, mask):
        expected = [
            [
                bool(mask[y, x])
                or all(side.any() for side in (mask[y, :x], mask[y, x + 1 :], mask[:y, x], mask[y + 1 :, x]))
                for x in range(mask.shape[1])
            ]
            for y in range(mask.shape[0])
        ]
        np.testing.assert_array_equal(hull.enclosed(mask), expected)
