"""Digits built in: handwriting drawn from vector strokes, an endless and repeatable stream of MNIST-like images.

A digit is a template of `glyphs`, varied the way hands vary, drawn with a soft pen, and framed by MNIST's rule.
Nothing here is learnt or traced: the templates are drawn by hand, and only averages (the pen's widths, the slants,
the grey of the edges) were set to those of MNIST's training images.
"""

import math

import torch
from torch.nn.functional import pad

from digitnet.config import IMAGE_SIZE
from digitnet.data.pen import draw_dabs, pen_sigmas
from digitnet.data.stream import draw_range
from digitnet.data.templates import DAB_COUNT, ROUNDINGS, Templates, compile_digits

PEN_WIDTHS = (2.6, 2.6, 2.35, 2.3, 2.15, 2.15, 2.25, 2.35, 2.05, 2.1)  # of each digit, pixels
SLANTS = (0.22, 0.27, 0.06, 0.09, 0.24, 0.20, 0.08, 0.02, 0.15, 0.12)  # how far right each digit leans, per height


def draw_strokes(count: int, *, seed: int, first: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw digits `first` to `first + count - 1` of the endless stream `seed`.

    Digit i of a stream is the same whichever range is asked for.

    Returns:
        Images, uint8 (count, 1, 28, 28), and targets, int64 (count,), the ten classes equally likely.

    Raises:
        ValueError: `count` or `first` is negative.
    """
    return draw_range(_draw_any, count, seed=seed, first=first)


def _draw_any(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    targets = torch.randint(10, (count,), generator=generator)
    return draw(targets, generator), targets


def draw(targets: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw one digit for each target.

    Args:
        targets: Classes, int64 (N,) in 0..9.
        generator: Where all the variation comes from.

    Returns:
        Images, uint8 (N, 1, 28, 28), ink 255 on 0.
    """
    return draw_characters(compile_digits(), targets, torch.tensor(PEN_WIDTHS), torch.tensor(SLANTS), generator)


def draw_characters(
    templates: Templates, targets: torch.Tensor, widths: torch.Tensor, slants: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Draw one character for each target.

    Args:
        templates: The ways of writing the characters of each class.
        targets: Classes, int64 (N,).
        widths: The pen's mean width for each class, in pixels, float32 (classes,).
        slants: How far right the characters of each class lean, per height, float32 (classes,).
        generator: Where all the variation comes from.

    Returns:
        Images, uint8 (N, 1, 28, 28), ink 255 on 0.
    """
    if len(targets) == 0:
        return torch.empty(0, 1, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    chosen = _choose(targets, templates, generator)
    points = _lean(_vary(chosen, templates, generator), slants[targets], generator)
    dabs, lengths = _trace(points, chosen, templates, generator)
    return draw_dabs(dabs, lengths, pen_sigmas(widths[targets], generator), templates.is_end[chosen])


def _choose(targets: torch.Tensor, templates: Templates, generator: torch.Generator) -> torch.Tensor:
    """Choose a glyph (N,) for each target."""
    draws = 0.99999 * torch.rand(len(targets), 1, generator=generator)
    return (templates.chances[targets] <= draws).sum(1)


def _vary(chosen: torch.Tensor, templates: Templates, generator: torch.Generator) -> torch.Tensor:
    """Blend each glyph's shapes and vary the control points (N, K, 2) as hands do, from details to the whole."""
    count, (_, most_shapes, most_points, _) = len(chosen), templates.shapes.shape

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(count, *shape, generator=generator)

    # Squared exponential shares: mixtures, but often close to one shape. Never 0 or 1, whose logarithms divide by 0.
    share = torch.rand(count, most_shapes, generator=generator).clamp(1e-6, 1 - 1e-6)
    blend = share.log().square() * templates.is_shape[chosen]
    blend = blend / blend.sum(1, keepdim=True)
    points = torch.einsum("nv,nvkd->nkd", blend, templates.shapes[chosen])
    # Each stroke is placed and sized a little apart from the others.
    stroke = templates.stroke[chosen][:, :, None].expand(-1, -1, 2)
    points = points * (1 + 0.06 * normal(3, 2)).gather(1, stroke) + (0.035 * normal(3, 2)).gather(1, stroke)
    points = points + 0.036 * normal(most_points, 2)
    # Strokes begin and end early or late.
    beside = points.gather(1, templates.neighbour[chosen][:, :, None].expand(-1, -1, 2))
    points = points + (points - beside) * (0.22 * normal(most_points, 1))
    # Smooth warps of the whole: bends, bulges, one half bigger than the other.
    x, y = points[:, :, :1], points[:, :, 1:]
    turn = 2 * math.pi * y
    modes = [x * y, x * x, y * y, (turn / 2).sin(), turn.cos() / 3, turn.sin() / 3]
    return points + torch.cat(modes, 2) @ (0.08 * normal(6, 2))


def _lean(points: torch.Tensor, slants: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Give points (N, K, 2) their proportions, their slant about their digit's (N,), and a turn."""
    aspect, lean, angle = torch.randn(3, len(points), 1, generator=generator)
    lean, angle = slants[:, None] + 0.21 * lean, 0.08 * angle
    y = points[:, :, 1]
    x = points[:, :, 0] * (0.18 * aspect - 0.12).exp() - lean * y
    return torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], 2)


def _trace(
    points: torch.Tensor, chosen: torch.Tensor, templates: Templates, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the pen along the control points: dabs (N, P, 2) and the length of stroke each stands for (N, P)."""
    rounding = torch.randint(len(ROUNDINGS), (len(chosen),), generator=generator)
    along = torch.linspace(0, math.pi, DAB_COUNT)[:, None] * torch.arange(3, 11)
    tremor = 0.006 * torch.randn(len(chosen), 8, 2, generator=generator)
    dabs = templates.bases[chosen, rounding] @ points + along.cos() @ tremor
    steps = (dabs[:, 1:] - dabs[:, :-1]).norm(dim=2) * templates.is_down[chosen]
    return dabs, (pad(steps, (0, 1)) + pad(steps, (1, 0))) / 2
