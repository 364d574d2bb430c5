"""The pen that strokes are drawn with: from dabs along a path to an image framed as MNIST's are.

What paths there are is the matter of ``strokes.py`` and ``nondigits.py``.
"""

import math

import torch

from digitnet.config import IMAGE_SIZE
from digitnet.data.templates import DAB_COUNT

BOX_SIZE = 20  # MNIST: the ink's longest side is 20 pixels
EDGE = math.sqrt(2 * math.log(2))  # a Gaussian falls to half at this many sigmas: the edge of a stroke
CAP = 0.76  # added at a stroke's ends, where the sum of dabs falls to half, so that they are round and not cut
HARDNESS = 1.7  # how steeply ink turns to paper: within a pixel, which gives as much grey as in MNIST


def draw_dabs(dabs: torch.Tensor, lengths: torch.Tensor, sigmas: torch.Tensor, is_end: torch.Tensor) -> torch.Tensor:
    """Draw paths, framed as MNIST's digits are.

    Args:
        dabs: (N, P, 2) float32, x to the right and y down. The longer side of a path is about 1, or more: the ink of
            one much smaller would be cut by a pixel at the frame.
        lengths: (N, P) float32, the length of stroke that each dab stands for, in the same unit.
        sigmas: (N, P) float32, the pen's width at each dab as the sigma of a Gaussian, in pixels.
        is_end: (N, P) float32, 1 where a stroke begins or ends.

    Returns:
        Images, uint8 (N, 1, 28, 28), ink 255 on 0.
    """
    dabs, lengths = fit(dabs, lengths, sigmas)
    return place(ink(dabs, lengths, sigmas, is_end))


def pen_sigmas(widths: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Choose the pen's sigma in pixels (N, P): each hand has its width, which swells and thins along the stroke."""
    along = torch.linspace(0, math.pi, DAB_COUNT) * torch.arange(1, 5)[:, None]
    swell = 0.06 * torch.randn(len(widths), 4, generator=generator) @ along.cos()
    spread = 0.24 * torch.randn(len(widths), 1, generator=generator)
    return (widths[:, None] * (spread + swell).exp()).clamp(min=1.1) / (2 * EDGE)


def fit(dabs: torch.Tensor, lengths: torch.Tensor, sigmas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
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


def ink(dabs: torch.Tensor, lengths: torch.Tensor, sigmas: torch.Tensor, is_end: torch.Tensor) -> torch.Tensor:
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


def place(boxes: torch.Tensor) -> torch.Tensor:
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
