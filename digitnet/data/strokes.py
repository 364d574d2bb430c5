"""Digits built in: handwriting drawn from vector strokes, an endless and repeatable stream of MNIST-like images.

A digit is a template of `glyphs`, varied the way hands vary, drawn with a soft pen, and framed by MNIST's rule.
Nothing here is learnt or traced: the templates are drawn by hand, and only averages (the pen's widths, the slants,
the grey of the edges) were set to those of MNIST's training images.
"""

import hashlib
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch.nn.functional import pad

from digitnet.config import IMAGE_SIZE
from digitnet.data.templates import DAB_COUNT, ROUNDINGS, Templates, compile_glyphs

CHUNK_SIZE = 1000  # the stream is drawn in chunks, so that any range of it costs and gives the same
BOX_SIZE = 20  # MNIST: the ink's longest side is 20 pixels
EDGE = math.sqrt(2 * math.log(2))  # a Gaussian falls to half at this many sigmas: the edge of a stroke
CAP = 0.76  # added at a stroke's ends, where the sum of dabs falls to half, so that they are round and not cut
HARDNESS = 1.7  # how steeply ink turns to paper: within a pixel, which gives as much grey as in MNIST
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
    if count < 0 or first < 0:
        raise ValueError(f"count and first must not be negative, got count={count}, first={first}")
    images = torch.empty(count, 1, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    targets = torch.empty(count, dtype=torch.int64)

    def fill(chunk: int) -> None:
        start = chunk * CHUNK_SIZE - first  # where the chunk begins in the range asked for
        part, wanted = slice(max(start, 0), min(start + CHUNK_SIZE, count)), slice(max(-start, 0), count - start)
        chunk_images, chunk_targets = _draw_chunk(seed, chunk)
        images[part], targets[part] = chunk_images[wanted], chunk_targets[wanted]

    with _one_thread_each() as pool:
        list(pool.map(fill, range(first // CHUNK_SIZE, -(-(first + count) // CHUNK_SIZE))))
    return images, targets


@contextmanager
def _one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """Lend as many workers as torch has threads, and one thread to each.

    The operations are many and small: threads that share each of them mostly wait for one another, ten times as long
    on a busy machine. And sums are then made in one order, so a digit is the same to the bit on any number of threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def draw(targets: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw one digit for each target.

    Args:
        targets: Classes, int64 (N,) in 0..9.
        generator: Where all the variation comes from.

    Returns:
        Images, uint8 (N, 1, 28, 28), ink 255 on 0.
    """
    if len(targets) == 0:
        return torch.empty(0, 1, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    templates = compile_glyphs()
    chosen = _choose(targets, templates, generator)
    points = _lean(_vary(chosen, templates, generator), torch.tensor(SLANTS)[targets], generator)
    dabs, lengths = _trace(points, chosen, templates, generator)
    sigmas = _pen(torch.tensor(PEN_WIDTHS)[targets], generator)
    dabs, lengths = _fit(dabs, lengths, sigmas)
    return _place(_ink(dabs, lengths, sigmas, templates.is_end[chosen]))


def _draw_chunk(seed: int, chunk: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one whole chunk of a stream: images (1000, 1, 28, 28) and targets (1000,)."""
    generator = torch.Generator().manual_seed(_mix(seed, chunk))
    targets = torch.randint(10, (CHUNK_SIZE,), generator=generator)
    return draw(targets, generator), targets


def _mix(seed: int, chunk: int) -> int:
    """Hash (seed, chunk) to 63 bits, so that neighbouring seeds and chunks have nothing in common."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{chunk}".encode(), digest_size=8).digest(), "big") >> 1


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


def _pen(widths: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Choose the pen's sigma in pixels (N, P): each hand has its width, which swells and thins along the stroke."""
    along = torch.linspace(0, math.pi, DAB_COUNT) * torch.arange(1, 5)[:, None]
    swell = 0.06 * torch.randn(len(widths), 4, generator=generator) @ along.cos()
    spread = 0.24 * torch.randn(len(widths), 1, generator=generator)
    return (widths[:, None] * (spread + swell).exp()).clamp(min=1.1) / (2 * EDGE)


def _fit(dabs: torch.Tensor, lengths: torch.Tensor, sigmas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale dabs (N, P, 2) and their lengths (N, P) to pixels, the longer side of the ink filling the box."""
    reach = (sigmas * EDGE)[:, :, None]
    scale = torch.full((len(dabs), 1, 1), float(BOX_SIZE))
    for _ in range(3):  # widths are in pixels already, so the fit is a fixed point; three rounds settle it
        low, high = (dabs * scale - reach).amin(1), (dabs * scale + reach).amax(1)
        scale = scale * (BOX_SIZE / (high - low).amax(1))[:, None, None]
    dabs = dabs * scale
    low, high = (dabs - reach).amin(1), (dabs + reach).amax(1)
    corner = ((BOX_SIZE - (high - low)) / 2).clamp(min=0).floor()
    return dabs + (corner - low)[:, None], lengths * scale[:, :, 0]


def _ink(dabs: torch.Tensor, lengths: torch.Tensor, sigmas: torch.Tensor, is_end: torch.Tensor) -> torch.Tensor:
    """Sum a Gaussian for each dab and harden it into ink with a grey edge: uint8 (N, 20, 20)."""
    pixels = torch.arange(BOX_SIZE) + 0.5
    narrow = (math.sqrt(0.5) / sigmas)[:, :, None, None]
    # In place, and no exponent under -20: the products of smaller numbers are denormal, and slow ten times over.
    spread = (dabs[:, :, :, None] - pixels).mul_(narrow).square_().clamp_(max=20).neg_().exp_()  # (N, P, 2, 20)
    height = lengths / (sigmas * math.sqrt(2 * math.pi)) + CAP * is_end
    field = torch.bmm((spread[:, :, 1] * height[:, :, None]).transpose(1, 2), spread[:, :, 0])
    hardness = HARDNESS * sigmas.mean(1)[:, None, None]
    paper = 0.5 * (1 - hardness).clamp(min=0)  # a thin line is too soft to fall to nought by itself
    return (((field - 0.5) * hardness + 0.5 - paper).clamp_(0, 1) * 255).round_().to(torch.uint8)


def _place(boxes: torch.Tensor) -> torch.Tensor:
    """Lay boxes (N, 20, 20) on canvases (N, 1, 28, 28), moved by whole pixels, centres of mass in the middle."""
    ink = boxes.float()
    places = torch.arange(BOX_SIZE, dtype=torch.float32)
    centres = torch.stack([ink.sum(2) @ places, ink.sum(1) @ places], 1) / ink.sum((1, 2)).clamp(min=1)[:, None]
    corners = (IMAGE_SIZE / 2 - centres).round().clamp(0, IMAGE_SIZE - BOX_SIZE).long()
    # Each row of a box is a run of 20 bytes of its canvas; overlapping views of such runs copy them all at once.
    canvases = torch.zeros(len(boxes), 1, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    rows = torch.arange(BOX_SIZE) + corners[:, :1] + IMAGE_SIZE * torch.arange(len(boxes))[:, None]
    canvases.view(-1).unfold(0, BOX_SIZE, 1)[rows * IMAGE_SIZE + corners[:, 1:]] = boxes
    return canvases
