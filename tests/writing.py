"""Pictures of numbers, written from single digits: the test of reading them, and what its constants were chosen by.

A number is written as hands write: sizes, gaps and a baseline that wander, lines that rise or fall, broken strokes,
on paper with light from one side. The box of each digit's ink is known.

``python tests/writing.py`` prints the README's table of numbers, as the newest run reads them, else pretrained-cnn.
"""

import sys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


@dataclass(frozen=True, kw_only=True)
class Hand:
    """How a number is written; lengths are shares of a digit's height."""

    gap: tuple[float, float] = (0.15, 0.6)
    """Paper between neighbours, least and most."""
    touch: float = 0.0
    """How often two neighbours are pushed together until their ink meets."""
    broken: float = 0.0
    """How often a digit has a break in its strokes."""
    wobble: float = 0.05
    """Standard deviation of the baseline; that of the logarithm of the size is as much."""
    slope: float = 0.05
    """The most that a line rises or falls, per width."""
    noise: float = 0.02
    """Standard deviation of the paper's grain, of black to white; its light varies by ten times that."""
    height: tuple[int, int] = (40, 110)
    """Of a digit, in pixels."""


HANDS = {
    "clean": Hand(wobble=0.02, slope=0, noise=0),
    "apart": Hand(),
    "wide": Hand(gap=(0.5, 1.5), slope=0.15),
    "narrow": Hand(gap=(0.03, 0.15)),
    "wobbling": Hand(wobble=0.12, slope=0.2, noise=0.04),
    "small": Hand(height=(14, 24)),
    "broken": Hand(broken=0.5),
    "touching": Hand(gap=(0.03, 0.3), touch=0.4),
    "all touching": Hand(touch=1.0),
}


def glyph(image, height, rng):
    """Enlarge an MNIST-like image to a digit of `height` pixels with a pen of another width: bool, cropped."""
    rows, columns = np.flatnonzero(image.max(axis=1) > 99), np.flatnonzero(image.max(axis=0) > 99)
    crop = Image.fromarray(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    size = max(2, round(height * crop.width / crop.height)), height
    if crop.width > crop.height:
        size = height, max(2, round(height * crop.height / crop.width))
    large = crop.resize(size, Image.Resampling.BICUBIC)
    grow = int(rng.integers(0, max(1, height // 25) + 1))
    ink = np.pad(np.asarray(large) > 110, grow)
    return np.asarray(Image.fromarray(ink.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(2 * grow + 1))) > 0


def break_strokes(ink, rng):
    """Wipe out a narrow band of a glyph, at any angle."""
    y, x = np.nonzero(ink)
    at = rng.integers(len(y))
    angle = rng.uniform(0, np.pi)
    yy, xx = np.mgrid[: ink.shape[0], : ink.shape[1]] - np.array([y[at], x[at]])[:, None, None]
    height = ink.shape[0]
    near = np.hypot(yy, xx) < 0.2 * height
    left = ink & ~(near & (np.abs(yy * np.cos(angle) + xx * np.sin(angle)) < max(1, 0.025 * height)))
    return left if left.any() else ink


def write_line(digits, height, hand, rng):
    """Write one line: bool (rows, columns), and a box (left, top, right, bottom) for each digit."""
    page = np.zeros((4 * height + 8, round(len(digits) * 3.2 * height) + 4 * height), bool)
    slope = rng.uniform(-hand.slope, hand.slope)
    boxes, right, middle = [], height, page.shape[0] / 2
    slope = np.clip(slope, -1.2 * height / page.shape[1], 1.2 * height / page.shape[1]) if len(digits) > 5 else slope
    for image in digits:
        ink = glyph(image, max(8, round(height * np.exp(hand.wobble * rng.standard_normal()))), rng)
        if rng.random() < hand.broken:
            ink = break_strokes(ink, rng)
        left = right + round(height * rng.uniform(*hand.gap)) if boxes else height
        top = round(middle + height * (0.5 + hand.wobble * rng.standard_normal()) + slope * left - ink.shape[0])
        top = int(np.clip(top, 0, page.shape[0] - ink.shape[0]))
        place = lambda x, top=top, ink=ink: page[top : top + ink.shape[0], x : x + ink.shape[1]]  # noqa: E731
        if boxes and rng.random() < hand.touch:
            left = right + 2
            while left > right - 0.3 * height and not (place(left) & ink).any():
                left -= 1
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        place(left)[ink] = True
        boxes.append((left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1))
        right = left + ink.shape[1]
    low = min(box[1] for box in boxes)
    page = page[low : max(box[3] for box in boxes), : right + height]
    return page, [(a, b - low, c, d - low) for a, b, c, d in boxes]


def write_number(images, lengths, hand, rng):
    """Write digits in lines of the given lengths.

    Returns:
        A picture in mode L, and for each line the boxes of its digits.
    """
    height = int(rng.integers(hand.height[0], hand.height[1] + 1))
    images = iter(images)
    lines = [write_line([next(images) for _ in range(length)], height, hand, rng) for length in lengths]
    margin = rng.integers(height // 3, 2 * height, 2)
    width = max(page.shape[1] for page, _ in lines) + 2 * margin[0]
    spacing = [round(height * rng.uniform(0.35, 1.2)) for _ in lines]
    ink = np.zeros((sum(page.shape[0] for page, _ in lines) + sum(spacing) + 2 * margin[1], width), bool)
    top, placed = int(margin[1]), []
    for (page, boxes), space in zip(lines, spacing, strict=True):
        left = int(margin[0])
        ink[top : top + page.shape[0], left : left + page.shape[1]] = page
        placed.append([(a + left, b + top, c + left, d + top) for a, b, c, d in boxes])
        top += page.shape[0] + space
    return on_paper(ink, hand.noise, rng), placed


def on_paper(ink, noise, rng):
    """Draw ink on paper, dark on light or light on dark."""
    soft = Image.fromarray(ink.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1)))
    amount = np.asarray(soft, dtype=np.float32) / 255
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 - 10 * noise * (0.5 + 0.5 * (np.cos(angle) * y / len(y) + np.sin(angle) * x / x.shape[1]))
    paper = rng.uniform(0.75, 1)
    grey = light * (paper + (rng.uniform(0, 0.45) - paper) * amount)
    grey += noise * rng.standard_normal(grey.shape)
    if noise == 0 and rng.random() < 0.3:
        grey = 1 - grey
    return Image.fromarray((grey.clip(0, 1) * 255).round().astype(np.uint8))


def write_in_cells(images, rng, *, gap, touching=False):
    """Write a digit into each of a row of boxes, as on a form.

    Args:
        images: The digits, (28, 28) uint8 each.
        rng: What is left to chance: sizes, the pen, how dark the boxes are, the tilt, and where in its box a digit is.
        gap: Between boxes, over a digit's height; with 0 they share walls.
        touching: Whether a digit may lie on its box, or reach beyond it.

    Returns:
        A picture in mode L.
    """
    height = int(rng.integers(40, 100))
    wide, tall = round(height * rng.uniform(1.15, 1.5)), round(height * rng.uniform(1.25, 1.7))
    pen, beyond = max(1, round(height * rng.uniform(0.02, 0.05))), 0.35 if touching else -0.1
    step = wide + round(height * gap)
    ink = np.zeros((tall + 3 * height, len(images) * step + 4 * height), bool)
    form = Image.new("L", ink.shape[::-1])
    for index, image in enumerate(images):
        left, top = 2 * height + index * step, round(1.5 * height)
        ImageDraw.Draw(form).rectangle((left, top, left + wide, top + tall), outline=255, width=pen)
        digit = glyph(image, round(height * rng.uniform(0.85, 1.05)), rng)
        room = np.array((tall, wide)) - digit.shape - 2 * pen - 4
        y, x = np.rint(np.array((top, left)) + pen + 2 + room * rng.uniform(-beyond, 1 + beyond, 2)).astype(int)
        ink[y : y + digit.shape[0], x : x + digit.shape[1]] |= digit
    dark = np.maximum(np.asarray(form) * rng.uniform(0.5, 0.8), 255 * ink).astype(np.uint8)
    turned = Image.fromarray(dark).rotate(rng.uniform(-3, 3), Image.Resampling.BICUBIC)
    amount = np.asarray(turned.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1)))) / 255
    grey = 0.88 - (0.88 - rng.uniform(0.1, 0.35)) * amount + 0.015 * rng.standard_normal(ink.shape)
    return Image.fromarray((grey.clip(0, 1) * 255).round().astype(np.uint8))


def random_number(images, targets, hand, rng):
    """Write a random number of 1 to 8 digits in each of 1 to 3 lines.

    Args:
        images: (N, 28, 28) uint8 to choose from.
        targets: (N,) their digits.

    Returns:
        The picture, the number with a space between lines, and each line's boxes.
    """
    lengths = rng.integers(1, 9, rng.choice([1, 2, 3], p=[0.6, 0.2, 0.2]))
    chosen = rng.integers(0, len(images), lengths.sum())
    picture, boxes = write_number(images[chosen], lengths, hand, rng)
    digits = iter(targets[chosen])
    return picture, " ".join("".join(str(next(digits)) for _ in range(n)) for n in lengths), boxes


TABLE = (  # of the README: what a row is called, a hand, and how many digits in one line, or None for random_number
    ("one to three lines of one to eight, apart", "apart", None),
    ("ten in a line, nearly touching", "narrow", 10),
    ("one to three lines, two in five touching", "touching", None),
    ("two that touch", "all touching", 2),
    ("one to three lines, all touching", "all touching", None),
)


def main(pictures=60, seed=1):
    """Print how many of each kind are read right and accepted, turned away, and wrong and accepted."""
    import digitnet
    from digitnet.data.strokes import draw_strokes
    from digitnet.numbers import read_number

    classifier = digitnet.load()
    drawn, targets = (tensor.numpy() for tensor in draw_strokes(1000, seed=seed))
    images = drawn[:, 0]
    for name, hand, length in TABLE:
        rng, found = np.random.default_rng(seed), {"right": 0, "away": 0, "wrong": 0}
        for _ in range(pictures):
            if length is None:
                picture, number, _ = random_number(images, targets, HANDS[hand], rng)
            else:
                chosen = rng.integers(0, len(images), length)
                picture, _ = write_number(images[chosen], [length], HANDS[hand], rng)
                number = "".join(map(str, targets[chosen]))
            answer = read_number(classifier, picture)
            found["away" if not answer.accepted else "right" if answer.number == number else "wrong"] += 1
        sys.stdout.write(f"| {name} | {found['right']} | {found['away']} | {found['wrong']} |\n")


if __name__ == "__main__":
    main()
