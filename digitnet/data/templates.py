"""Glyphs and letters compiled: every way of writing a character as tensors, from points to dabs by one product."""

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch.nn.functional import pad

from digitnet.data.glyphs import GLYPHS, Shape, Stroke, read_glyphs
from digitnet.data.letters import LETTERS

DAB_COUNT = 64  # dabs of ink a digit is made of
ROUNDINGS = (0.0, 0.1, 0.35, 0.8)  # how far corners are rounded off: 1 is as if they were no corners


@dataclass(frozen=True)
class Templates:
    """Every glyph as padded tensors: T glyphs, V shapes, K control points, P dabs."""

    chances: torch.Tensor  # (classes, T) cumulative chance of each glyph, for each class
    shapes: torch.Tensor  # (T, V, K, 2) in [-0.5, 0.5]
    is_shape: torch.Tensor  # (T, V) 1 where there is such a shape
    stroke: torch.Tensor  # (T, K) which stroke a point belongs to
    neighbour: torch.Tensor  # (T, K) the point next to a stroke's end; elsewhere the point itself
    bases: torch.Tensor  # (T, R, P, K) from control points to dabs, for each of `ROUNDINGS`
    is_end: torch.Tensor  # (T, P) 1 where a stroke begins or ends
    is_down: torch.Tensor  # (T, P - 1) 1 where ink runs from a dab to the next


@cache
def compile_digits() -> Templates:
    """Compile the ways of writing each digit, once, at first use: ten classes."""
    return _compile_blocks([GLYPHS[digit] for digit in range(10)])


@cache
def compile_letters() -> Templates:
    """Compile the characters that are no digits, once, at first use: all one class."""
    return _compile_blocks([LETTERS])


def _compile_blocks(blocks: list[str]) -> Templates:
    owners, weights, shapes = zip(
        *((i, *glyph) for i, block in enumerate(blocks) for glyph in read_glyphs(block)), strict=True
    )
    most_points = max(sum(map(len, glyph[0])) for glyph in shapes)
    most_shapes = max(map(len, shapes))
    tensors = [_compile(glyph, most_points, most_shapes) for glyph in shapes]
    chances = (torch.arange(len(blocks))[:, None] == torch.tensor(owners)) * torch.tensor(weights)
    chances = (chances / chances.sum(1, keepdim=True)).cumsum(1)
    return Templates(chances, *map(torch.stack, zip(*tensors, strict=True)))


def _compile(shapes: list[Shape], most_points: int, most_shapes: int) -> tuple[torch.Tensor, ...]:
    """Build one glyph's row of every field of `Templates` but the first, in order."""
    corners = torch.zeros(most_shapes, most_points, 2)
    for v, shape in enumerate(shapes):
        flat = torch.tensor([[x, y] for stroke in shape for x, y, _ in stroke])
        corners[v, : len(flat)] = flat - 0.5
    is_shape = (torch.arange(most_shapes) < len(shapes)).float()
    strokes = shapes[0]
    lengths = [sum(math.dist(a[:2], b[:2]) for a, b in pairwise(s)) for s in strokes]
    counts = [max(8, round(DAB_COUNT * length / sum(lengths))) for length in lengths]
    counts[lengths.index(max(lengths))] += DAB_COUNT - sum(counts)
    which, neighbour = torch.zeros(most_points, dtype=torch.int64), torch.arange(most_points)
    bases, is_end = torch.zeros(len(ROUNDINGS), DAB_COUNT, most_points), torch.zeros(DAB_COUNT)
    row = column = 0
    for s, (stroke, count) in enumerate(zip(strokes, counts, strict=True)):
        rows, columns = slice(row, row + count), slice(column, column + len(stroke))
        sharp, rounded = _spline(stroke, count, rounded=False), _spline(stroke, count, rounded=True)
        bases[:, rows, columns] = torch.lerp(sharp, rounded, torch.tensor(ROUNDINGS)[:, None, None])
        row, column = row + count, column + len(stroke)
        which[columns] = s
        neighbour[columns.start], neighbour[column - 1] = columns.start + 1, column - 2
        is_end[[rows.start, row - 1]] = 1
    is_down = 1 - is_end[:-1] * is_end[1:]
    return corners, is_shape, which, neighbour, bases, is_end, is_down


def _spline(stroke: Stroke, count: int, *, rounded: bool) -> torch.Tensor:
    """Build the matrix (count, points) of a centripetal Catmull-Rom spline, sampled evenly along its chords.

    Knots are the square roots of the template's chords, so the curve neither loops nor overshoots; they stay
    fixed when the points move, which keeps drawing one matrix product.
    Source: Yuksel, Schaefer & Keyser 2011, "Parameterization and applications of Catmull-Rom curves".
    """
    eye = torch.eye(len(stroke))
    places = torch.tensor([point[:2] for point in stroke])
    chords = (places[1:] - places[:-1]).norm(dim=1)
    spans = chords.sqrt()
    slopes = (eye[1:] - eye[:-1]) / spans[:, None]
    leave, arrive = slopes.clone(), slopes.clone()  # at an end or a corner each side keeps its own direction
    for i in range(1, len(stroke) - 1):
        if rounded or not stroke[i][2]:
            tangent = (slopes[i - 1] * spans[i] + slopes[i] * spans[i - 1]) / (spans[i - 1] + spans[i])
            leave[i] = arrive[i - 1] = tangent
    travelled = pad(chords.cumsum(0), (1, 0))
    where = torch.linspace(0, 1, count) * travelled[-1]
    k = (torch.searchsorted(travelled, where) - 1).clamp(0, len(chords) - 1)
    u = ((where - travelled[k]) / chords[k]).clamp(0, 1)[:, None]
    ahead = 3 * u**2 - 2 * u**3
    bend = (u**3 - 2 * u**2 + u) * leave[k] + (u**3 - u**2) * arrive[k]
    matrix: torch.Tensor = (1 - ahead) * eye[k] + ahead * eye[k + 1] + spans[k, None] * bend
    return matrix
