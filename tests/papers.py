"""Hard pictures made to order: a digit on paper as phones, scanners and tablets show it, a difficulty at a time.

A digit of 28x28 is drawn large and smooth, written on synthetic paper, and looked at through a poor camera. Each
kind of difficulty is a function that changes a ``Page``; ``photograph`` puts them together.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

SIDE = 420  # pixels of a page
INK, PAPER = 0.2, 0.85  # reflected light


@dataclass
class Page:
    """What is on the paper, each in light that is let through: 1 is nothing, 0 is black."""

    rng: np.random.Generator
    digit: np.ndarray  # (28, 28) in [0, 1]
    height: float = 200  # of the 28 pixels, in pixels of the page
    pen: float = 0.5  # the level of the digit at which the stroke ends: higher is thinner
    ink: tuple = (INK, INK, INK)  # light that the ink leaves, of the paper's
    paper: tuple = (PAPER, PAPER, PAPER)
    middle: tuple | None = None  # of the digit on the page
    lines: np.ndarray | float = 1.0  # (side, side, 3) or a number
    light: np.ndarray | float = 1.0
    grain: float = 0.01
    blur: float = 0.0
    quality: int | None = None
    side: int = SIDE


def stroke(page):
    """Draw the digit: (side, side) in [0, 1], the share of each pixel that is ink."""
    side = max(4, round(page.height))
    big = Image.fromarray((page.digit * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    big = big.filter(ImageFilter.GaussianBlur(side / 28 * 0.5))
    sharp = np.clip((np.asarray(big) / 255 - page.pen) * side / 28 * 0.8 + 0.5, 0, 1)
    ink = np.zeros((page.side, page.side))
    y, x = page.middle or (page.side / 2 + page.rng.uniform(-20, 20), page.side / 2 + page.rng.uniform(-20, 20))
    top, left = round(y - side / 2), round(x - side / 2)
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + side, page.side), min(left + side, page.side)
    ink[y0:y1, x0:x1] = sharp[y0 - top : y1 - top, x0 - left : x1 - left]
    return ink


def photograph(digit, seed, *kinds):
    """Write a digit on paper and take a picture of it.

    Args:
        digit: (28, 28) uint8, light on black.
        seed: Of all that is left to chance.
        kinds: Names from ``KINDS``, or functions that change a ``Page``.
    """
    rng = np.random.default_rng(seed)
    page = Page(rng=rng, digit=np.asarray(digit) / 255, height=rng.uniform(150, 330), pen=rng.uniform(0.3, 0.5))
    for kind in kinds:
        (KINDS[kind] if isinstance(kind, str) else kind)(page)
    ink = stroke(page)[:, :, None]
    seen = np.array(page.paper) * page.lines * (1 - ink * (1 - np.array(page.ink))) * page.light
    if page.blur:
        seen = np.stack([gaussian(seen[:, :, c], page.blur) for c in range(3)], axis=2)
    seen = seen + rng.normal(0, page.grain, (page.side, page.side, 1)) + rng.normal(0, page.grain / 2, seen.shape)
    picture = Image.fromarray((seen.clip(0, 1) * 255).astype(np.uint8))
    if page.quality is None:
        return picture
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=page.quality)
    return Image.open(stream)


def gaussian(values, radius):
    """Blur (height, width) values in [0, 1], to eight bits."""
    picture = Image.fromarray((values.clip(0, 1) * 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius))) / 255


def straight(page, spacing, thickness, level, angle, axis, phase=None):
    """Rule lines: level is the light that they let through, three numbers; angle in degrees."""
    y, x = np.mgrid[: page.side, : page.side]
    along, across = (x, y) if axis == 0 else (y, x)
    place = across * np.cos(np.radians(angle)) + along * np.sin(np.radians(angle))
    phase = page.rng.uniform(0, spacing) if phase is None else phase
    distance = np.abs((place - phase + spacing / 2) % spacing - spacing / 2)
    share = np.clip(thickness / 2 - distance + 0.5, 0, 1)[:, :, None]
    page.lines = page.lines * (1 - share * (1 - np.array(level)))


def pen_width(page):
    return page.height / 28 * 2.6


def ruled(page, *, squared=False):
    """Rule the paper in a colour lighter than the ink, a little aslant."""
    rng = page.rng
    spacing = rng.uniform(0.14, 0.35) * page.height if squared else rng.uniform(0.25, 0.9) * page.height
    thickness = max(1.2, rng.uniform(0.1, 0.45) * pen_width(page))
    grey = rng.uniform(0.35, 0.75)
    level = [(grey, grey, grey), (grey * 0.8, grey, min(1.3 * grey, 1)), (min(1.3 * grey, 1), grey, grey)][
        rng.integers(3)
    ]
    angle = rng.uniform(-4, 4)
    straight(page, spacing, thickness, level, angle, 0)
    if squared:
        straight(page, spacing, thickness, level, -angle + rng.uniform(-0.5, 0.5), 1)


def dark_ruled(page):
    """Rule lines about as dark as the ink, yet thinner."""
    thickness = max(1.2, page.rng.uniform(0.15, 0.4) * pen_width(page))
    angle = page.rng.uniform(-4, 4)
    straight(page, page.rng.uniform(0.3, 0.8) * page.height, thickness, (0.3, 0.3, 0.3), angle, 0)


def margin(page):
    """Draw one upright line from the top of the page to its end, and a writing line."""
    angle, thickness = page.rng.uniform(-3, 3), max(1.5, 0.35 * pen_width(page))
    place = page.side / 2 + page.rng.uniform(-0.5, 0.5) * page.height
    straight(page, 10_000, thickness, (0.8, 0.4, 0.4), angle, 1, phase=place)
    straight(page, 10_000, thickness, (0.45, 0.45, 0.6), -angle, 0, phase=page.side / 2 + 0.35 * page.height)


def shadow(page):
    """Throw the shadow of a hand and light from one side over the page."""
    y, x = np.mgrid[: page.side, : page.side] / page.side
    turn = page.rng.uniform(0, 2 * np.pi)
    place = (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn)
    hand = 1 - page.rng.uniform(0.2, 0.5) / (
        1 + np.exp(-(place - page.rng.uniform(-0.3, 0.3)) * page.rng.uniform(12, 60))
    )
    page.light = (hand * (1 - page.rng.uniform(0, 0.5) * (x if page.rng.random() < 0.5 else 1 - y)))[:, :, None]


def edges(page):
    """Darken one to three edges as a scanner or a sheet's end does."""
    light = np.ones((page.side, page.side))
    for turn in page.rng.permutation(4)[: page.rng.integers(1, 4)]:
        light = np.rot90(light, turn)
        depth, soft = page.rng.integers(3, 20), page.rng.uniform(1, 10)
        fall = np.clip((np.arange(page.side) - depth) / soft + 1, 0, 1)
        light = np.rot90(light * (page.rng.uniform(0.1, 0.6) * (1 - fall) + fall)[:, None], -turn)
    page.light = page.light * light[:, :, None]


def specks(page):
    """Scatter dust: dots of up to three pixels."""
    for _ in range(page.rng.integers(5, 40)):
        y, x, size = *page.rng.integers(0, page.side - 4, 2), page.rng.integers(1, 4)
        spot = np.ones((page.side, page.side, 1))
        spot[y : y + size, x : x + size] = page.rng.uniform(0.2, 0.7)
        page.lines = page.lines * spot


def bleed(page):
    """Let another digit shine through from the back, mirrored."""
    back = Page(
        rng=page.rng, digit=np.roll(page.digit[:, ::-1], 3, axis=0), height=page.height * page.rng.uniform(0.7, 1.3)
    )
    back.middle = tuple(page.rng.uniform(0.2, 0.8, 2) * page.side)
    faint = gaussian(stroke(back), 3)
    page.lines = page.lines * (1 - page.rng.uniform(0.08, 0.2) * faint)[:, :, None]


def pencil(page):
    """Write faintly with a hard pencil, whose stroke shows the paper's grain."""
    level = page.rng.uniform(0.6, 0.8)
    page.ink, page.grain, page.pen = (level, level, level), page.rng.uniform(0.01, 0.025), page.rng.uniform(0.4, 0.6)


def chalk(page):
    """Write with chalk on a board, with traces of what was wiped off."""
    page.paper = [(0.2, 0.2, 0.2), (0.12, 0.25, 0.18), (0.1, 0.12, 0.2)][page.rng.integers(3)]
    page.ink = tuple(0.85 / c for c in page.paper)
    smear = gaussian(page.rng.random((page.side, page.side)), 12)
    page.lines = page.lines * (1 + 3 * (smear - 0.5))[:, :, None]
    page.grain = page.rng.uniform(0.01, 0.04)


def coloured(page):
    """Take a coloured pen to coloured paper."""
    page.paper = [(0.9, 0.85, 0.45), (0.75, 0.85, 0.9), (0.9, 0.7, 0.75), (0.6, 0.58, 0.55)][page.rng.integers(4)]
    page.ink = [(0.15, 0.2, 0.7), (0.8, 0.2, 0.2), (0.15, 0.6, 0.3), (0.9, 0.5, 0.15)][page.rng.integers(4)]


def thin(page):
    """Draw with a pen of one or two pixels."""
    page.pen, page.height, page.grain = 0.65, page.rng.uniform(250, 380), 0.0


def small(page):
    """Write small on a large page."""
    page.side, page.height = 1200, page.rng.uniform(70, 130)
    page.middle = tuple(page.rng.uniform(0.15, 0.85, 2) * page.side)


def at_edge(page):
    """Let the digit touch the picture's edge."""
    y, x = np.nonzero(page.digit > 0.5)
    scale = page.height / 28
    free = page.side - 1
    which = page.rng.integers(4)
    middle = [page.side / 2, page.side / 2]
    reach = [(14 - y.min()), -(y.max() + 1 - 14), (14 - x.min()), -(x.max() + 1 - 14)][which] * scale
    middle[which // 2] = (0 if which % 2 == 0 else free) + reach
    page.middle = tuple(middle)


def broken(page):
    """Lift the pen: a gap runs through the digit."""
    y, x = np.mgrid[:28, :28]
    turn, place = page.rng.uniform(0, np.pi), page.rng.uniform(-4, 4)
    gap = np.abs((x - 13.5) * np.cos(turn) + (y - 13.5) * np.sin(turn) - place) < 0.8
    page.digit = page.digit * ~gap


def blurred(page):
    page.blur = page.rng.uniform(1.5, 4)


def jpeg(page):
    page.quality = int(page.rng.integers(15, 60))


KINDS = {
    "plain": lambda _page: None,
    "ruled": ruled,
    "squared": lambda page: ruled(page, squared=True),
    "dark ruled": dark_ruled,
    "margin": margin,
    "shadow": shadow,
    "edges": edges,
    "specks": specks,
    "bleed": bleed,
    "pencil": pencil,
    "chalk": chalk,
    "coloured": coloured,
    "thin": thin,
    "small": small,
    "at edge": at_edge,
    "broken": broken,
    "blurred": blurred,
    "jpeg": jpeg,
}
