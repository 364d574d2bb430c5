"""Copies of a test set, each changed in one way and always in the same, to see what a network bears.

What training varies is in ``augment.py``; this is written apart from it, so that a mistake there cannot hide here.
The strengths were chosen on MNIST's training images, and are fixed: figures would no longer compare.

Source: Mu and Gilmer, "MNIST-C: A robustness benchmark for computer vision" (2019), for the idea; Castro et al.,
"Morpho-MNIST" (2019), for thin and thick strokes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SEED = 20_261_001  # of the noise; fixed for good, as are the strengths
CHUNK = 500  # images at a time: what a CPU's caches hold
BLUR_REACH = 4  # standard deviations to each side; one in 16,000 of the light lies beyond


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to change images. What is left out changes nothing."""

    name: str
    """What people call it; at most 22 characters."""
    right_px: int = 0
    """Moved to the right; negative to the left."""
    down_px: int = 0
    """Moved down; negative up."""
    left_turn_deg: float = 0.0
    """Rotated counterclockwise about the middle; negative clockwise."""
    scale: float = 1.0
    """Drawn this many times as large, about the middle; above 0."""
    blur_px: float = 0.0
    """Standard deviation of a Gaussian blur."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on each pixel, as a share of white."""
    grow_px: float = 0.0
    """How far each edge of a stroke moves outwards, in [-1, 1]; negative inwards."""


VARIANTS = (
    Variant(name="shifted left 2 px", right_px=-2),
    Variant(name="shifted right 2 px", right_px=2),
    Variant(name="shifted up 2 px", down_px=-2),
    Variant(name="shifted down 2 px", down_px=2),
    Variant(name="shifted left 4 px", right_px=-4),
    Variant(name="shifted right 4 px", right_px=4),
    Variant(name="shifted up 4 px", down_px=-4),
    Variant(name="shifted down 4 px", down_px=4),
    Variant(name="rotated left 15 deg", left_turn_deg=15),
    Variant(name="rotated right 15 deg", left_turn_deg=-15),
    Variant(name="rotated left 30 deg", left_turn_deg=30),
    Variant(name="rotated right 30 deg", left_turn_deg=-30),
    Variant(name="scaled to 70 %", scale=0.7),
    Variant(name="scaled to 85 %", scale=0.85),
    Variant(name="scaled to 115 %", scale=1.15),
    Variant(name="scaled to 130 %", scale=1.3),
    Variant(name="blurred by 0.75 px", blur_px=0.75),
    Variant(name="blurred by 1.25 px", blur_px=1.25),
    Variant(name="noisy by 10 %", noise=0.1),
    Variant(name="noisy by 20 %", noise=0.2),
    Variant(name="thin by 0.3 px a side", grow_px=-0.3),
    Variant(name="thin by 0.6 px a side", grow_px=-0.6),
    Variant(name="thick by 0.5 px a side", grow_px=0.5),
    Variant(name="thick by 1 px a side", grow_px=1.0),
)


def vary(images: Tensor, variant: Variant) -> Tensor:
    """Change each image in the same way; the same images come out each time.

    Args:
        images: (N, 1, 28, 28) uint8 on the CPU, light ink on black; black is outside, too.
        variant: A variant without strengths returns the images bit for bit.

    Returns:
        (N, 1, 28, 28) uint8. What passes the edge is lost, and levels are cut off at black and white.
    """
    generator = torch.Generator().manual_seed(SEED)
    chunks = (images[start : start + CHUNK].float() / 255 for start in range(0, len(images), CHUNK))
    return torch.cat([_to_bytes(_vary(chunk, variant, generator)) for chunk in chunks])


def _to_bytes(x: Tensor) -> Tensor:
    return (x * 255).round().clamp(0, 255).to(torch.uint8)


def _vary(x: Tensor, variant: Variant, generator: torch.Generator) -> Tensor:
    """Change some images, (n, 1, 28, 28) float32 in [0, 1]; noise leads out of that."""
    if variant.grow_px:
        x = _grow(x, variant.grow_px)
    if variant.left_turn_deg or variant.scale != 1:
        x = _turn_and_scale(x, math.radians(variant.left_turn_deg), variant.scale)
    if variant.right_px or variant.down_px:
        x = _shift(x, variant.right_px, variant.down_px)
    if variant.blur_px:
        x = _blur(x, variant.blur_px)
    if variant.noise:
        x = x + variant.noise * torch.randn(x.shape, generator=generator)
    return x


def _shift(x: Tensor, right: int, down: int) -> Tensor:
    """Move by whole pixels; a negative padding cuts off."""
    return F.pad(x, (right, -right, down, -down))


def _turn_and_scale(x: Tensor, angle: float, scale: float) -> Tensor:
    """Sample bilinearly; the map leads from a pixel of the result to where it comes from, and y points down."""
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    back = torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]]).expand(len(x), 2, 3)
    return F.grid_sample(x, F.affine_grid(back, list(x.shape), align_corners=False), align_corners=False)


def _blur(x: Tensor, width: float) -> Tensor:
    """Blur along the rows, then along the columns."""
    reach = math.ceil(BLUR_REACH * width)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / width) ** 2)
    kernel = kernel / kernel.sum()
    rows = F.conv2d(x, kernel.view(1, 1, 1, -1), padding=(0, reach))
    return F.conv2d(rows, kernel.view(1, 1, -1, 1), padding=(reach, 0))


def _grow(x: Tensor, amount: float) -> Tensor:
    """Mix with the image whose strokes are wider by a pixel on each side, or of its inverse if they shrink.

    A square of 3x3 moves a slanting edge by 1.41 pixels and a cross by 0.71; their mean moves each by about one.
    """
    work = x if amount > 0 else 1 - x
    padded = F.pad(work, (1, 1, 1, 1), value=0.0 if amount > 0 else 1.0)
    rows = torch.maximum(torch.maximum(padded[..., :-2, :], padded[..., 1:-1, :]), padded[..., 2:, :])
    square = torch.maximum(torch.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])
    columns = torch.maximum(padded[..., 1:-1, :-2], padded[..., 1:-1, 2:])
    cross = torch.maximum(rows[..., 1:-1], columns)
    grown = work.lerp((square + cross) / 2, abs(amount))
    return grown if amount > 0 else 1 - grown
