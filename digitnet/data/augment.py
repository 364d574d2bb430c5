"""Random variants of a batch of images, made on the device that they are on. Never a flip: digits are not symmetric.

Sources: Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied to visual document
analysis" (2003), for affine and elastic distortions of digits; Castro et al., "Morpho-MNIST" (2019), for strokes made
thinner and thicker.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from digitnet.config import AugmentName

ROTATION_RAD = math.radians(10)
SCALE = 0.10
SHEAR = 0.15
SHIFT = 2 / 14  # of half the image's side: 2 pixels of 28
ELASTIC = 0.03  # standard deviation of a knot's displacement, of half the image's side: 0.42 pixels
STRONGER = 1.5  # how many times as far all turns, scales, shears and bends: hands differ more than MNIST's writers
WIDTH = 0.7  # largest share of the way to strokes wider, or thinner, by a pixel on each side
ELASTIC_KNOTS = 6  # knots a side: bends of about a stroke's length
INK = (-0.3, 0.9)  # least and most of the logarithm by which the edges of ink are made steeper
NOISE = 0.2  # largest standard deviation of noise; most images get far less
KEPT = 0.2  # share of images that all leaves alone: a network that sees only resampled ones finds sharp ones odd
LEAST_INK = 0.3  # of what there was; an image that would lose more, a thin line made thinner, is left alone, too


def augment(images: Tensor, name: AugmentName, generator: torch.Generator) -> Tensor:
    """Distort each image of a batch on its own.

    Args:
        images: (N, 1, 28, 28) float32 in [0, 1], black outside.
        name: none returns the images as they are; affine turns, scales, shears and shifts; elastic bends as well; all
            does both more strongly, varies the stroke's width, the ink and its noise, too, and leaves some alone.
        generator: On the images' device.

    Returns:
        (N, 1, 28, 28) float32 in [0, 1].
    """
    if name == "none":
        return images
    strength = STRONGER if name == "all" else 1.0
    maps = _random_maps(len(images), strength, generator)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    if name != "affine":
        grid = grid + strength * _random_bends(len(images), images.shape[-1], generator)
    if name != "all":
        return F.grid_sample(images, grid, align_corners=False)
    varied = F.grid_sample(_random_widths(images, generator), grid, align_corners=False)
    varied = _random_ink(varied, generator)
    kept = torch.rand(len(images), 1, 1, 1, generator=generator, device=generator.device) < KEPT
    kept |= varied.sum((1, 2, 3), keepdim=True) < LEAST_INK * images.sum((1, 2, 3), keepdim=True)
    return torch.where(kept, images, varied)


def _random_maps(count: int, strength: float, generator: torch.Generator) -> Tensor:
    """Draw affine maps from output to input coordinates, (count, 2, 3), in units of half the image's side."""
    u = torch.rand(count, 6, generator=generator, device=generator.device) * 2 - 1
    angle, shear = u[:, 0] * (strength * ROTATION_RAD), u[:, 1] * (strength * SHEAR)
    width, height = torch.exp(u[:, 2] * (strength * SCALE)), torch.exp(u[:, 3] * (strength * SCALE))
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [width * cos, width * (shear * cos - sin), u[:, 4] * SHIFT]
    rows += [height * sin, height * (shear * sin + cos), u[:, 5] * SHIFT]
    return torch.stack(rows, dim=1).view(count, 2, 3)


def _random_bends(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw smooth displacement fields, (count, size, size, 2): random knots with a bicubic surface through them."""
    knots = torch.randn(count, 2, ELASTIC_KNOTS, ELASTIC_KNOTS, generator=generator, device=generator.device)
    curves = _bicubic(ELASTIC_KNOTS, size, generator.device)
    return (curves @ (knots * ELASTIC) @ curves.T).permute(0, 2, 3, 1)


def _bicubic(knots: int, size: int, device: torch.device) -> Tensor:
    """Return the matrix, (size, knots), that turns knots into points of the bicubic curve through them.

    Applied along both axes it is bicubic interpolation, at a tenth of its time on a CPU.
    """
    unit = torch.eye(knots, device=device).view(1, knots, knots, 1)
    return F.interpolate(unit, size=(size, 1), mode="bicubic", align_corners=True).view(knots, size).T


def _random_widths(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mix each image with itself dilated or eroded, (N, 1, 28, 28): strokes wider or thinner by parts of a pixel."""
    share = torch.rand(len(images), 1, 1, 1, generator=generator, device=generator.device) * (2 * WIDTH) - WIDTH
    wider, thinner = _dilate(images), -_dilate(-images)
    return images.lerp(torch.where(share > 0, wider, thinner), share.abs())


def _random_ink(images: Tensor, generator: torch.Generator) -> Tensor:
    """Make the edges of ink steeper or softer, and add noise, (N, 1, 28, 28)."""
    steepness, noise = torch.rand(2, len(images), 1, 1, 1, generator=generator, device=generator.device)
    steepness = (INK[0] + (INK[1] - INK[0]) * steepness).exp()
    grain = torch.randn(images.shape, generator=generator, device=generator.device)
    inked: Tensor = ((images - 0.5) * steepness + 0.5 + grain * (NOISE * noise**4)).clamp(0, 1)
    return inked


def _dilate(images: Tensor) -> Tensor:
    """Return the largest of each pixel and its neighbours, black outside; max pooling would take four times as long."""
    padded = F.pad(images, (1, 1, 1, 1))
    rows = torch.maximum(torch.maximum(padded[..., :-2, :], padded[..., 1:-1, :]), padded[..., 2:, :])
    return torch.maximum(torch.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])
