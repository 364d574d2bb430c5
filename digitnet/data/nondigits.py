"""Drawings that are no digits, for a network to learn to tell from digits: endless and repeatable, like `strokes`.

Letters and signs from templates, characters of random strokes, digits turned or mirrored, two digits at once, and
blots. What looks like a digit by chance is rare among them, and is left in.
"""

import math

import torch
from torch.nn.functional import interpolate, pad

from digitnet.data.pen import BOX_SIZE, draw_dabs, pen_sigmas
from digitnet.data.stream import draw_range
from digitnet.data.strokes import draw_characters
from digitnet.data.templates import DAB_COUNT, compile_letters

LETTER_WIDTH, LETTER_SLANT = 2.4, 0.1  # the pen's mean width in pixels, and how far right letters lean
GRID = 4  # random strokes run between the points of a grid of 4x4, as those of letters line up
NODES = 4  # points of a random stroke
MARGIN = 4  # of paper around the box
SCRIBBLES = {1: 0.05, 2: 0.12, 3: 0.1, 4: 0.08}  # shares of the drawings by their number of random strokes

# Turned by so many quarters (negative: mirrored), these digits are none any more. A 1 turned one way is all the level
# strokes that are wanted.
_TURNED = {1: (1, 2, 3, 4, 5, 6, 7, 9), 2: (3, 4, 7), 3: (2, 3, 4, 5, 6, 7, 9), -1: (3, 4, 6, 7, 9)}


def draw_nondigits(count: int, digits: torch.Tensor, targets: torch.Tensor, *, seed: int) -> torch.Tensor:
    """Draw so many images of things that are no digits.

    Args:
        count: How many.
        digits: Images of digits that some are made from, uint8 (M, 1, 28, 28).
        targets: Which digits those are, int64 (M,).
        seed: Of the stream; its first images are the same however many are asked for.

    Returns:
        Images, uint8 (count, 1, 28, 28), framed as digits are.
    """

    def draw(number: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        kinds = [
            _letters(round(0.42 * number), generator),
            *(_scribbles(round(share * number), strokes, generator) for strokes, share in SCRIBBLES.items()),
            _turned(round(0.1 * number), digits, targets, generator),
            _pairs(round(0.08 * number), digits, generator),
            _blots(round(0.05 * number), generator),
        ]
        images = torch.cat(kinds)[torch.randperm(number, generator=generator)]
        return images, torch.zeros(number, dtype=torch.int64)

    return draw_range(draw, count, seed=seed)[0]


def _letters(count: int, generator: torch.Generator) -> torch.Tensor:
    targets = torch.zeros(count, dtype=torch.int64)
    widths, slants = torch.tensor([LETTER_WIDTH]), torch.tensor([LETTER_SLANT])
    return draw_characters(compile_letters(), targets, widths, slants, generator)


def _scribbles(count: int, strokes: int, generator: torch.Generator) -> torch.Tensor:
    """Draw characters of so many random strokes: lines, curves and arcs, often joined, often level or upright."""
    each = DAB_COUNT // strokes
    paths = _paths(_nodes(count, strokes, generator), each, generator)  # (count, strokes, each, 2)
    aspect, slant = 0.25 * torch.randn(2, count, 1, 1, generator=generator)
    x, y = paths[..., 0] * aspect.exp() - 0.8 * slant * paths[..., 1], paths[..., 1]
    dabs = torch.stack([x, y], 3)
    steps = (dabs[:, :, 1:] - dabs[:, :, :-1]).norm(dim=3)
    lengths = (pad(steps, (0, 1)) + pad(steps, (1, 0))) / 2
    is_end = torch.zeros(strokes, each)
    is_end[:, [0, -1]] = 1
    dabs, lengths = dabs.flatten(1, 2), lengths.flatten(1)
    sigmas = pen_sigmas(torch.full((count,), LETTER_WIDTH), generator)[:, : dabs.shape[1]]
    return draw_dabs(dabs, lengths, sigmas, is_end.view(1, -1).expand(count, -1))


def _nodes(count: int, strokes: int, generator: torch.Generator) -> torch.Tensor:
    """Choose the points of random strokes, (count, strokes, NODES, 2) in about [-0.5, 0.5]."""
    nodes = torch.randint(GRID, (count, strokes, NODES, 2), generator=generator) / (GRID - 1) - 0.5
    nodes = nodes + 0.06 * torch.randn(nodes.shape, generator=generator)
    for stroke in range(1, strokes):  # about half of the strokes begin at a point of an earlier one
        earlier = nodes[:, :stroke].flatten(1, 2)
        place = torch.randint(earlier.shape[1], (count,), generator=generator)
        joined = torch.rand(count, 1, generator=generator) < 0.55
        nodes[:, stroke, 0] = torch.where(joined, earlier[torch.arange(count), place], nodes[:, stroke, 0])
    if strokes == 1:
        return nodes  # a single straight line is a 1
    kind = torch.rand(count, strokes, 1, generator=generator)
    first, last = nodes[:, :, :1], nodes[:, :, -1:]
    line = torch.lerp(first, last, torch.linspace(0, 1, NODES)[:, None])
    line[..., 0] = torch.where(kind < 0.16, first[..., 0], line[..., 0])  # upright
    line[..., 1] = torch.where((kind >= 0.16) & (kind < 0.32), first[..., 1], line[..., 1])  # level
    return torch.where((kind < 0.45)[..., None], line, nodes)


def _paths(nodes: torch.Tensor, each: int, generator: torch.Generator) -> torch.Tensor:
    """Lay dabs along strokes, (count, strokes, each, 2): polygons, smooth curves, and arcs instead of some."""
    count, strokes = nodes.shape[:2]
    kind, sweep, start = torch.rand(3, count, strokes, 1, 1, generator=generator)
    along = torch.linspace(0, 1, each)[:, None]
    corners = torch.linspace(0, 1, NODES)
    straight = (1 - (along - corners).abs() * (NODES - 1)).clamp(min=0)  # (each, NODES): linear between the nodes
    # Bernstein polynomials of degree 3: a Bezier curve.
    curve = torch.cat([math.comb(3, i) * along**i * (1 - along) ** (3 - i) for i in range(NODES)], 1)
    middle, radii = nodes[:, :, 1:2] * 0.5, 0.1 + nodes[:, :, 2:3].abs() * 0.8
    most = 0.75 if strokes == 1 else 1.05  # of a turn; a single closed circle is a 0
    angle = 2 * math.pi * (start + (0.3 + (most - 0.3) * sweep) * along)
    arc = middle + radii * torch.cat([angle.cos(), angle.sin()], 3)
    paths = torch.where(kind < 0.55, curve @ nodes, straight @ nodes)
    return torch.where(kind > 0.8, arc, paths)


def _turned(count: int, digits: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Turn or mirror digits that are none then: 90 degrees either way, 180 degrees, or left to right.

    Where a small or lopsided set has no such digits, blots take their place.
    """
    parts = []
    for quarters, allowed in _TURNED.items():
        places = torch.isin(targets, torch.tensor(allowed)).nonzero()[:, 0]
        size = count - 3 * (count // 4) if quarters == -1 else count // 4
        if len(places) == 0:
            parts.append(_blots(size, generator))
            continue
        images = digits[places[torch.randint(len(places), (size,), generator=generator)]]
        parts.append(images.flip(3) if quarters == -1 else torch.rot90(images, quarters, (2, 3)))
    return torch.cat(parts)


def _pairs(count: int, digits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Put two digits side by side, squeezed into one box, or one over the other."""
    left, right = digits[torch.randint(len(digits), (2, count), generator=generator)].float()
    inner = slice(MARGIN, MARGIN + BOX_SIZE)
    both = torch.cat([left[:, :, inner, inner], right[:, :, inner, inner]], 3)
    beside = pad(interpolate(both, size=(BOX_SIZE, BOX_SIZE), mode="area"), (MARGIN,) * 4)
    beside = beside * (255 / beside.amax((1, 2, 3), keepdim=True).clamp(min=1))
    is_over = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    return torch.where(is_over, torch.maximum(left, right), beside).to(torch.uint8)


def _blots(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw what a photo of something else leaves: smooth random fields, cut at a level, as areas or as outlines."""
    knots = torch.randn(count, 1, 6, 6, generator=generator)
    field = interpolate(knots, size=(BOX_SIZE, BOX_SIZE), mode="bicubic", align_corners=True)
    level, width, kind = torch.rand(3, count, 1, 1, 1, generator=generator)
    area = ((field - 0.2 - 0.8 * level) * 3 + 0.5).clamp(0, 1)
    outline = ((1 - field.abs() / (0.25 + 0.2 * width)) * 2).clamp(0, 1)
    return pad((torch.where(kind < 0.5, area, outline) * 255).to(torch.uint8), (MARGIN,) * 4)
