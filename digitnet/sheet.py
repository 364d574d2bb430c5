"""A light sheet of paper that lies on something darker: found at any tilt, and cut out of the photo.

It is the largest light region, whose outline has four corners as no digit's has. Arrays only.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from digitnet.components import Components, connected, part_of, pixels_within
from digitnet.hull import Points, area_of, convex_hull, enclosed, largest_quadrilateral, sides_of, tilt_of, turn
from digitnet.paper import LEAST_CONTRAST, Grey, Mask, border, in_cells

_LEAST_SIDE = 128  # pixels: what is smaller is a drawing, or no digit on a sheet in it could be read
_CELLS = 100  # along the longer side: coarse enough to lose a table's grain, fine enough for a tilt of 2 degrees
_LEVELS = (0.4, 0.55, 0.25, 0.7)  # of the range of brightness: which of them parts paper from table is not known
_ALIKE = 0.25  # more or less light: no other sheet
_LIGHT_BORDER = 0.8  # of the picture's border: what has more is paper from side to side
_LEAST, _MOST = 0.03, 0.95  # of the picture
_LIGHT = 0.7  # of a sheet is bare paper, at least
_FOUR_CORNERED = 0.88
_CONTRAST = 0.1  # of the paper's brightness: what a bold stroke's own grain is fainter than, and ink is not
_SOLID, _HOLE = 0.9, 0.01  # of its hull, and of the sheet: a dark patch that is no stroke but a bold digit's hole
_SLENDER, _SLIM = 3, 0.12  # times as long as wide, and of the sheet's narrower side: a 1, and no hole
_LONGEST = 3  # times as long as wide: a sheet, and no stroke
_BEYOND = 0.1  # of a dark part lies outside of a sheet: it is no ink
_ALONG = np.linspace(0.1, 0.9, 30)  # where along a side its edge is looked at,
_ACROSS, _INNER = np.array((-4, -3, -2, 3, 4, 5, 6, 7)), 3  # so many cells inside of it, and outside
_FALL = 0.5  # of the way from paper to table: how far light falls there
_NOTCHES = 0.05  # of a sheet may be dark from its edge inwards
_SHADE = 0.35  # of the paper's brightness: a table is darker than a shadow
_AT_EDGE = 3  # cells from the picture's edge
_SHARP = 0.25  # of a quadrilateral is the triangle at a corner, which else is but a bend
_UPRIGHT = 2.0  # degrees: a sheet that is turned by no more is left as it lies
_INSET = 0.02  # of its shorter side, and a cell and a half: what is left out along the sheet's edge


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What is to be read of a picture: a sheet that lies in it, or all of it."""

    grey: Grey
    """(height, width) float32 in [0, 1]; around a sheet that is no upright rectangle, paper is made up."""
    corner: tuple[int, int] = (0, 0)
    """Its left and top in the picture, had it not been turned."""
    found: bool = False
    """Whether it is a sheet in the picture, and not all of it."""
    tilt: float = 0.0
    """How far it lay turned clockwise, in degrees, and has been turned back."""


def cut_sheet(grey: Grey, *, straighten: bool) -> Sheet:
    """Cut out the sheet that lies in a picture, which would else be read as one large piece of ink.

    Args:
        grey: (height, width) float32 in [0, 1].
        straighten: Whether to turn back a sheet that lies aslant.

    Returns:
        The sheet; all of the picture where there is none.
    """
    outline = find_sheet(grey)
    if outline is None:
        return Sheet(grey=grey)
    tilt = tilt_of(outline) if straighten else 0.0
    if abs(tilt) <= _UPRIGHT:
        tilt = 0.0
    upright = turn(outline, -tilt)
    left, top = np.floor(upright.min(axis=0)).astype(int).tolist()
    right, bottom = np.ceil(upright.max(axis=0)).astype(int).tolist()
    cut = _turned(grey, (left, top, right, bottom), tilt) if tilt else grey[top:bottom, left:right]
    return Sheet(grey=surround(cut, upright - (left, top)), corner=(left, top), found=True, tilt=tilt)


def _turned(grey: Grey, box: tuple[int, int, int, int], tilt: float) -> Grey:
    """Cut a box (left, top, right, bottom) out of a picture that is turned back by `tilt` about its origin."""
    left, top, right, bottom = box
    (x, y), (across, down) = turn(np.array([(left, top)]), tilt)[0], turn(np.eye(2), tilt)
    numbers = (across[0], down[0], x, across[1], down[1], y)
    size = right - left, bottom - top
    turned = Image.fromarray(grey).transform(size, Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR)
    return np.asarray(turned, dtype=np.float32)


def find_sheet(grey: Grey) -> Points | None:
    """Find the outline of a light sheet in a picture, a little inside its edge.

    Returns:
        A convex polygon in pixels; None where there is no sheet.
    """
    if min(grey.shape) < _LEAST_SIDE:
        return None
    cell = max(1, round(max(grey.shape) / _CELLS))
    cells: Grey = in_cells(grey, cell, mode="edge").mean(axis=(1, 3))
    darkest, lightest = float(cells.min()), float(cells.max())
    before = 0
    for share in _LEVELS:
        level = darkest + share * (lightest - darkest)
        light = cells > level
        count = int(light.sum())
        if abs(count - before) < _ALIKE * before:  # as at the level before
            continue
        before = count
        hull = _outline(cells, light)
        if hull is not None:
            outline: Points = (_shrink(hull) * cell).clip(0, grey.shape[::-1])
            if _is_written_on(grey, level, draw(outline, grey.shape)):
                return outline
    return None


def _outline(cells: Grey, light: Mask) -> Points | None:
    """Return the hull of the largest light region if that has the shape of a sheet; all in cells."""
    if border(light).mean() > _LIGHT_BORDER:
        return None
    region = _largest_region(_opened(light))
    # What a region encloses is no more than its hull, and quicker found.
    if region.sum() < _LIGHT * max(_LEAST * light.size, int(enclosed(region).sum())):
        return None
    hull = convex_hull(region)
    return hull if _is_sheet(cells, region, hull) and _has_edges(cells, region, hull) else None


def _has_edges(cells: Grey, region: Mask, hull: Points) -> bool:
    """Say whether light falls to dark at once along each side that lies in the picture.

    It does where a sheet ends; a shadow's edge is soft, and beyond a ruled line the paper goes on.
    """
    corners = largest_quadrilateral(hull)
    least = _FALL * (np.median(cells[region]) - np.median(cells[~region]))
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        outwards = np.array([b[1] - a[1], a[0] - b[0]]) / np.linalg.norm(b - a)
        outwards *= np.sign(outwards @ (a - corners.mean(axis=0)))
        points = (a + _ALONG[:, None] * (b - a))[:, None] + _ACROSS[:, None] * outwards
        x, y = np.floor(points).astype(int).transpose(2, 1, 0)  # (across, along) each
        seen = ((x >= 0) & (y >= 0) & (x < cells.shape[1]) & (y < cells.shape[0])).all(axis=0)
        if seen.any():
            across = cells[y[:, seen], x[:, seen]]
            inner, outer = across[:_INNER].mean(), across[_INNER:].max(axis=0).mean()
            if inner - outer < least:
                return False
    return True


def _largest_region(light: Mask) -> Mask:
    parts = connected(light)
    return part_of(light, parts, int(parts.area.argmax())) if len(parts.area) else np.zeros_like(light)


def _is_sheet(cells: Grey, region: Mask, hull: Points) -> bool:
    """Say whether a light region has the size and the shape of a sheet, and is not what a shadow leaves of one."""
    area, (narrow, long) = area_of(hull), sides_of(hull)
    if not _LEAST < area / region.size < _MOST or region.sum() < _LIGHT * area or long > _LONGEST * narrow:
        return False
    corners = largest_quadrilateral(hull)
    if area_of(corners) < _FOUR_CORNERED * area or _is_shaded(cells, region, corners):
        return False
    return _notches(region, hull) <= _NOTCHES * area


def _notches(region: Mask, hull: Points) -> int:
    """Count the dark cells that reach into a region from outside: beside the stem of a 7, but not into a sheet."""
    parts = connected(~region)
    beyond = pixels_within(~region, parts, ~draw(hull, region.shape))
    outside = np.zeros_like(region)
    outside[~region] = (beyond > _BEYOND * parts.area)[parts.labels]
    return int((outside & draw(_shrink(hull), region.shape)).sum())


def _opened(light: Mask) -> Mask:
    """Clear what is narrower than two cells: a table's grain, and bridges over it."""
    both = light[:-1] & light[1:]
    both = both[:, :-1] & both[:, 1:]
    padded = np.pad(both, 1)
    wide = padded[:-1] | padded[1:]
    opened: Mask = wide[:, :-1] | wide[:, 1:]
    return opened


def _is_shaded(cells: Grey, region: Mask, corners: Points) -> bool:
    """Say whether what is not light is the paper in a shadow: paler than a table, and the light has no corner by it."""
    edge = np.array(region.shape[::-1])
    inner = ((corners > _AT_EDGE) & (corners < edge - _AT_EDGE)).all(axis=1)
    sharp = [area_of(np.delete(corners, (k + 2) % 4, axis=0)) > _SHARP * area_of(corners) for k in range(4)]
    return not (inner & np.array(sharp)).any() and bool(np.median(cells[~region]) > _SHADE * np.median(cells[region]))


def _shrink(hull: Points) -> Points:
    """Move an outline inwards, past the sheet's edge, but not where that is the picture's own."""
    middle = hull.mean(axis=0)
    narrow = sides_of(hull)[0]
    factor = 1 - 2 * (1.5 + _INSET * narrow) / narrow
    shrunk: Points = middle + (hull - middle) * max(factor, 0.5)
    return shrunk


def draw(polygon: Points, shape: tuple[int, ...]) -> Mask:
    """Fill a polygon: a mask of `shape` (height, width)."""
    picture = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(picture).polygon([tuple(point) for point in (polygon - 0.5).tolist()], fill=1)
    return np.array(picture)


def _is_written_on(grey: Grey, level: float, inside: Mask) -> bool:
    """Say whether there is ink on a sheet: something darker inside that is not the hole of a bold digit."""
    if not inside.any():
        return False
    paper = float(np.median(grey[inside]))
    grain = float(np.median(np.abs(np.diff(grey, axis=1))[inside[:, 1:]]))  # which no shadow adds to
    darkest = float(np.percentile(grey[inside], 0.1))
    if paper - darkest < max(LEAST_CONTRAST, _CONTRAST * paper, 8 * grain):
        return False
    dark = inside & (grey < level)
    parts = connected(dark)
    return parts.area.max(initial=0) < _HOLE * inside.sum() or not _is_hole(dark, parts, inside)


def _is_hole(dark: Mask, parts: Components, inside: Mask) -> bool:
    """Say whether the largest dark part inside a light region is as solid as a hole, and no 1."""
    patch = part_of(dark, parts, int(parts.area.argmax()))
    hull = convex_hull(patch)
    narrow, long = sides_of(hull)
    is_one = long > _SLENDER * narrow and narrow < _SLIM * sides_of(convex_hull(inside))[0]
    return bool(patch.sum() >= _SOLID * area_of(hull)) and not is_one


def surround(grey: Grey, outline: Points) -> Grey:
    """Make up paper around a sheet: what is outside of its outline becomes as light as the paper nearby."""
    inside = draw(outline, grey.shape)
    if inside.all():
        return grey
    paper = inside & (grey > 0.8 * np.median(grey[inside]))
    return np.where(inside, grey, spread(grey, paper))


def spread(values: Grey, known: npt.NDArray[np.bool_]) -> Grey:
    """Fill in what is not known, smoothly, from what is known nearby: averages of ever larger blocks.

    Source: S. Gortler and others, "The lumigraph", 1996, section 3.4.3: pull and push.
    """
    if known.all() or min(values.shape) < 2:
        return np.where(known, values, values[known].mean() if known.any() else np.float32(0))
    weights = in_cells(known.astype(np.float32), 2, mode="constant").sum(axis=(1, 3))
    sums = in_cells(values * known, 2, mode="constant").sum(axis=(1, 3))
    coarse = spread(sums / np.maximum(weights, 1), weights > 0)
    size = coarse.shape[1] * 2, coarse.shape[0] * 2
    fine = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR))
    return np.where(known, values, fine[: values.shape[0], : values.shape[1]])
