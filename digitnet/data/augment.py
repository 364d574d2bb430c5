"""Random variants of a batch of images, made on the device that they are on. Never a flip: digits are not symmetric.

Sources: Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied to visual document
analysis" (2003), for affine and elastic distortions of digits; Castro et al., "Morpho-MNIST" (2019), for strokes made
thinner and thicker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some images of a batch, for which random numbers are drawn as for the batch, whichever part is asked for."""

    count: int
    """Images of the batch."""
    mine: Tensor
    """Which of them there are, (N,) int64."""


@dataclass(frozen=True)
class _Draws:
    """Random numbers for each image."""

    generator: torch.Generator
    count: int
    mine: Tensor | None

    def uniform(self, *shape: int) -> Tensor:
        """Draw numbers of a shape for each image, evenly from [0, 1)."""
        return self.keep(torch.rand(self.count, *shape, generator=self.generator, device=self.generator.device))

    def normal(self, *shape: int) -> Tensor:
        """Draw numbers of a shape for each image, of mean 0 and standard deviation 1."""
        return self.keep(torch.randn(self.count, *shape, generator=self.generator, device=self.generator.device))

    def uniform_pair(self) -> Tensor:
        """Draw two numbers for each image, (2, N, 1, 1, 1), evenly from [0, 1)."""
        drawn = torch.rand(2, self.count, 1, 1, 1, generator=self.generator, device=self.generator.device)
        return self.keep(drawn, 1)

    def keep(self, drawn: Tensor, dim: int = 0) -> Tensor:
        """Keep those of the images that there are."""
        return drawn if self.mine is None else drawn.index_select(dim, self.mine)


def augment(images: Tensor, name: AugmentName, generator: torch.Generator, part: Part | None = None) -> Tensor:
    """Distort each image of a batch on its own.

    Args:
        images: (N, 1, 28, 28) float32 in [0, 1], black outside.
        name: none returns the images as they are; affine turns, scales, shears and shifts; elastic bends as well; all
            does both more strongly, varies the stroke's width, the ink and its noise, too, and leaves some alone.
        generator: On the images' device.
        part: Which part of a batch the images are; None is all of it.

    Returns:
        (N, 1, 28, 28) float32 in [0, 1].
    """
    if name == "none":
        return images
    draws = _Draws(generator, part.count if part else len(images), part.mine if part else None)
    strength = STRONGER if name == "all" else 1.0
    maps = _random_maps(draws, strength)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    if name != "affine":
        grid = grid + strength * _random_bends(draws, images.shape[-1])
    if name != "all":
        return F.grid_sample(images, grid, align_corners=False)
    varied = F.grid_sample(_random_widths(images, draws), grid, align_corners=False)
    varied = _random_ink(varied, draws)
    kept = draws.uniform(1, 1, 1) < KEPT
    kept |= varied.sum((1, 2, 3), keepdim=True) < LEAST_INK * images.sum((1, 2, 3), keepdim=True)
    return torch.where(kept, images, varied)


def _random_maps(draws: _Draws, strength: float) -> Tensor:
    """Draw affine maps from output to input coordinates, (N, 2, 3), in units of half the image's side."""
    u = draws.uniform(6) * 2 - 1
    angle, shear = u[:, 0] * (strength * ROTATION_RAD), u[:, 1] * (strength * SHEAR)
    width, height = torch.exp(u[:, 2] * (strength * SCALE)), torch.exp(u[:, 3] * (strength * SCALE))
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [width * cos, width * (shear * cos - sin), u[:, 4] * SHIFT]
    rows += [height * sin, height * (shear * sin + cos), u[:, 5] * SHIFT]
    return torch.stack(rows, dim=1).view(-1, 2, 3)


def _random_bends(draws: _Draws, size: int) -> Tensor:
    """Draw smooth displacement fields, (N, size, size, 2): random knots with a bicubic surface through them."""
    knots = draws.normal(2, ELASTIC_KNOTS, ELASTIC_KNOTS)
    curves = _bicubic(ELASTIC_KNOTS, size, knots.device)
    return (curves @ (knots * ELASTIC) @ curves.T).permute(0, 2, 3, 1)


def _bicubic(knots: int, size: int, device: torch.device) -> Tensor:
    """Return the matrix, (size, knots), that turns knots into points of the bicubic curve through them.

    Applied along both axes it is bicubic interpolation, at a tenth of its time on a CPU.
    """
    unit = torch.eye(knots, device=device).view(1, knots, knots, 1)
    return F.interpolate(unit, size=(size, 1), mode="bicubic", align_corners=True).view(knots, size).T


def _random_widths(images: Tensor, draws: _Draws) -> Tensor:
    """Mix each image with itself dilated or eroded, (N, 1, 28, 28): strokes wider or thinner by parts of a pixel."""
    share = draws.uniform(1, 1, 1) * (2 * WIDTH) - WIDTH
    wider, thinner = _dilate(images), -_dilate(-images)
    return images.lerp(torch.where(share > 0, wider, thinner), share.abs())


def _random_ink(images: Tensor, draws: _Draws) -> Tensor:
    """Make the edges of ink steeper or softer, and add noise, (N, 1, 28, 28)."""
    steepness, noise = draws.uniform_pair()
    steepness = (INK[0] + (INK[1] - INK[0]) * steepness).exp()
    grain = draws.normal(*images.shape[1:])
    inked: Tensor = ((images - 0.5) * steepness + 0.5 + grain * (NOISE * noise**4)).clamp(0, 1)
    return inked


def _dilate(images: Tensor) -> Tensor:
    """Return the largest of each pixel and its neighbours, black outside; max pooling would take four times as long."""
    padded = F.pad(images, (1, 1, 1, 1))
    rows = torch.maximum(torch.maximum(padded[..., :-2, :], padded[..., 1:-1, :]), padded[..., 2:, :])
    return torch.maximum(torch.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])
