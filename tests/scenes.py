"""Pictures in which a digit is not alone, made to order: a sheet on a table, marks around a digit, and blots.

What is on the sheet is papers.py's; here are its place and tilt in a photo, the table, outlines and lines.
The marks change a papers.Page.
"""

import io

import numpy as np
import papers
from PIL import Image, ImageDraw, ImageFilter

INK = 255


def gaussian_field(rng, height, width, radius):
    """Draw smooth noise (height, width) in [0, 1], its coarseness a radius in pixels."""
    rough = Image.fromarray((rng.random((height, width)) * 255).astype(np.uint8))
    smooth = np.asarray(rough.filter(ImageFilter.GaussianBlur(radius)), np.float64)
    return (smooth - smooth.min()) / max(np.ptp(smooth), 1)


def _wood(rng, y, _x):
    bend = gaussian_field(rng, *y.shape, 40)
    grain = np.sin((y * rng.uniform(0.1, 0.3) + 14 * bend) * 2) * 0.5 + 0.5
    return np.array([0.45, 0.3, 0.18]) * (0.7 + 0.5 * grain[:, :, None])


def _cloth(rng, y, x):
    period = rng.integers(30, 90)
    checks = ((y // period + x // period) % 2)[:, :, None]
    return np.where(checks, (0.45, 0.12, 0.15), (0.2, 0.2, 0.3))


TABLES = {
    "black": lambda _rng, y, _x: np.full((*y.shape, 3), 0.08),
    "grey": lambda _rng, y, _x: np.full((*y.shape, 3), 0.35),
    "coloured": lambda rng, y, _x: (
        np.ones((*y.shape, 3)) * [(0.15, 0.25, 0.5), (0.5, 0.2, 0.15), (0.2, 0.4, 0.25)][rng.integers(3)]
    ),
    "wood": _wood,
    "stone": lambda rng, y, _x: 0.15 + 0.35 * gaussian_field(rng, *y.shape, 2)[:, :, None] * np.ones(3),
    "cloth": _cloth,
}


def homography(source, target):
    """Return the eight numbers by which Pillow's perspective transform takes target points to source points."""
    rows = []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    return np.linalg.solve(np.array(rows), np.array(source, float).ravel())


def on_table(sheet, seed, *, table="black", tilt=0.0, share=0.5, bent=0.0, size=(900, 675), middle=None):
    """Lay a sheet on a table and take a photo.

    Args:
        sheet: An RGB picture of paper.
        seed: Of all that is left to chance.
        table: One of ``TABLES``.
        tilt: Degrees, anticlockwise.
        share: The sheet's longer side over the picture's shorter one.
        bent: How far perspective may move each corner, over the sheet's side.
        size: Width and height of the photo.
        middle: Of the sheet, in shares of the photo's sides; anywhere that keeps most of it inside if None.

    Returns:
        The photo, as JPEG.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    scale = share * min(size) / max(sheet.size)
    half = np.array(sheet.size) * scale / 2
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
    corners = corners * (1 + rng.uniform(-bent, bent, (4, 2)))
    turn = np.radians(-tilt)
    corners = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    room = np.maximum(np.array(size) - np.ptp(corners, axis=0), 0) / 2
    place = np.array(size) / 2 + rng.uniform(-0.9, 0.9, 2) * room if middle is None else np.array(middle) * size
    corners += place
    frame = [(0, 0), (sheet.width, 0), sheet.size, (0, sheet.height)]
    warp = homography(frame, corners)
    kind = Image.Transform.PERSPECTIVE
    paper = sheet.convert("RGB").transform(size, kind, warp, Image.Resampling.BICUBIC)
    inside = Image.new("L", sheet.size, 255).transform(size, kind, warp, Image.Resampling.BICUBIC)
    y, x = np.mgrid[:height, :width]
    seen = TABLES[table](rng, y, x)
    cover = np.asarray(inside)[:, :, None] / 255
    fall = papers.gaussian(np.roll(np.asarray(inside) / 255, (6, 4), (0, 1)), 6)[:, :, None]
    seen = seen * (1 - 0.4 * fall)  # the sheet's own shadow
    seen = seen * (1 - cover) + np.asarray(paper) / 255 * cover
    way = rng.uniform(0, 2 * np.pi)
    seen = seen * (0.85 + 0.3 * ((x / width - 0.5) * np.cos(way) + (y / height - 0.5) * np.sin(way)))[:, :, None]
    seen = seen + rng.normal(0, 0.012, seen.shape)
    return as_jpeg(Image.fromarray((seen.clip(0, 1) * 255).astype(np.uint8)), int(rng.integers(60, 92)))


def as_jpeg(picture, quality):
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def ink_box(page):
    """Return left, top, right, bottom of a page's digit, which is put into the middle so that they are known."""
    page.middle = (page.side / 2, page.side / 2)
    rows, columns = np.nonzero(page.digit > page.pen)
    scale = page.height / 28
    left, right = page.side / 2 + (np.array([columns.min(), columns.max() + 1]) - 14) * scale
    top, bottom = page.side / 2 + (np.array([rows.min(), rows.max() + 1]) - 14) * scale
    return left, top, right, bottom


def _pen(page):
    return max(2, round(page.rng.uniform(0.35, 1.1) * papers.pen_width(page)))


def _mark(page, draw):
    """Let `draw` put ink on the page: it is given Pillow's pen."""
    layer = Image.new("L", (page.side, page.side), 0)
    draw(ImageDraw.Draw(layer))
    share = np.asarray(layer.filter(ImageFilter.GaussianBlur(0.7)))[:, :, None] / 255
    page.lines = page.lines * (1 - share * (1 - np.array(page.ink)))


def _room(page):
    """Make the digit small enough for a mark around it."""
    page.height = page.rng.uniform(100, 170)


def boxed(page):
    """Draw a box around the digit by hand: straight sides, corners a little off."""
    _room(page)
    left, top, right, bottom = ink_box(page)
    gap = page.rng.uniform(0.15, 0.5, 4) * page.height
    side = max(right - left, 0.6 * (bottom - top)) / 2 if page.rng.random() < 0.5 else (right - left) / 2
    middle = (left + right) / 2
    corners = np.array(
        [
            (middle - side - gap[0], top - gap[1]),
            (middle + side + gap[2], top - gap[1]),
            (middle + side + gap[2], bottom + gap[3]),
            (middle - side - gap[0], bottom + gap[3]),
        ]
    )
    corners += page.rng.uniform(-0.04, 0.04, (4, 2)) * page.height
    points = [tuple(corner) for corner in [*corners, corners[0], corners[1]]]
    _mark(page, lambda pen: pen.line(points, fill=INK, width=_pen(page), joint="curve"))


def circled(page):
    """Draw a wobbly circle or ellipse around the digit; its ends may not quite meet."""
    _room(page)
    left, top, right, bottom = ink_box(page)
    reach = np.hypot(right - left, bottom - top) / 2
    gap = page.rng.uniform(0.12, 0.4) * page.height
    wide = (right - left) / 2 * 1.3 + gap if page.rng.random() < 0.5 else reach + gap
    tall = reach + gap
    open_by = page.rng.choice([0, 0, 0.15])
    turn = page.rng.uniform(0, 2 * np.pi)
    angle = np.linspace(0, 2 * np.pi - open_by, 120) + turn
    wobble = 1 + 0.03 * np.sin(2 * angle + page.rng.uniform(0, 6)) + 0.02 * np.sin(3 * angle + page.rng.uniform(0, 6))
    x = (left + right) / 2 + wide * wobble * np.cos(angle)
    y = (top + bottom) / 2 + tall * wobble * np.sin(angle)
    points = list(zip(x, y, strict=True))
    _mark(page, lambda pen: pen.line(points if open_by else [*points, points[0]], fill=INK, width=_pen(page)))


def rounded(page):
    """Print a box with round corners around the digit."""
    _room(page)
    left, top, right, bottom = ink_box(page)
    gap = page.rng.uniform(0.15, 0.5) * page.height
    box = (left - gap, top - gap, right + gap, bottom + gap)
    radius = page.rng.uniform(0.1, 0.5) * page.height
    _mark(page, lambda pen: pen.rounded_rectangle(box, radius, outline=INK, width=_pen(page)))


def diamond(page):
    """Draw a square that stands on its corner around the digit."""
    _room(page)
    page.height *= 0.7
    left, top, right, bottom = ink_box(page)
    x, y = (left + right) / 2, (top + bottom) / 2
    reach = (right - left) / 2 + (bottom - top) / 2 + page.rng.uniform(0.2, 0.4) * page.height
    points = [(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y), (x, y - reach), (x + reach, y)]
    _mark(page, lambda pen: pen.line(points, fill=INK, width=_pen(page), joint="curve"))


def _bar(page, *, below, apart):
    left, top, right, bottom = ink_box(page)
    width = _pen(page)
    least = 0.6 * (bottom - top) if right - left < 0.35 * (bottom - top) else right - left
    over = page.rng.uniform(1.1, 2.0) * least / 2
    middle = (left + right) / 2 + page.rng.uniform(-0.05, 0.05) * least
    rise = page.rng.uniform(-0.05, 0.05) * over
    far = apart * (bottom - top) + width / 2 + abs(rise)
    y = bottom + far if below else top - far
    _mark(page, lambda pen: pen.line([(middle - over, y - rise), (middle + over, y + rise)], fill=INK, width=width))


def underlined(page):
    _room(page)
    _bar(page, below=True, apart=page.rng.uniform(0.1, 0.35))


def overlined(page):
    _room(page)
    _bar(page, below=False, apart=page.rng.uniform(0.12, 0.35))


def twice_underlined(page):
    _room(page)
    apart = page.rng.uniform(0.1, 0.3)
    _bar(page, below=True, apart=apart)
    _bar(page, below=True, apart=apart + 0.25)


OUTLINES = {"box": boxed, "circle": circled, "rounded box": rounded, "diamond": diamond}
BARS = {"underline": underlined, "overline": overlined, "two underlines": twice_underlined}


def blot(seed, shape):
    """Draw a solid shape of ink: (side, side) uint8, dark on light."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(80, 400))
    picture = Image.new("L", (side * 4, side * 4), 235)
    pen = ImageDraw.Draw(picture)
    middle, reach = 2 * side + rng.uniform(-0.3, 0.3, 2) * side, rng.uniform(0.3, 1.4) * side
    turn = rng.uniform(0, 2 * np.pi)
    if shape == "disc":
        wide = rng.uniform(0.7, 1)
        pen.ellipse([middle[0] - wide * reach, middle[1] - reach, middle[0] + wide * reach, middle[1] + reach], fill=30)
    else:
        count = {"square": 4, "triangle": 3, "splash": 90}[shape]
        angle = turn + np.linspace(0, 2 * np.pi, count, endpoint=False)
        waves = sum(rng.uniform(-0.06, 0.06) * np.sin(k * angle + rng.uniform(0, 6)) for k in (2, 3, 4, 5))
        far = reach * (1 + (waves if shape == "splash" else 0))
        pen.polygon(list(zip(middle[0] + far * np.cos(angle), middle[1] + far * np.sin(angle), strict=True)), fill=30)
    return picture.resize((side, side), Image.Resampling.BOX)


BLOTS = ("disc", "square", "triangle", "splash")
