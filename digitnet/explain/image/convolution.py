"""A convolution at work on one image: its kernels, the window that slides, and the map that it fills.

How padding and stride change the map of a kernel is here, too. Which maps are the most active, ``activity.py`` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from digitnet.errors import UsageError
from digitnet.explain.trace import Stage
from digitnet.models import DigitNet


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """One step of a kernel: what it covers, and the number that it makes of that."""

    top: int
    """Row of the window's first pixel in the padded input, from 0."""
    left: int
    """Its column."""
    covered: Tensor
    """(C, k, k) float32: what of the padded input lies under the kernel."""
    products: Tensor
    """(C, k, k) float32: each number times the weight above it."""
    total: float
    """Their sum, and the bias: one pixel of the feature map."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution:
    """A convolution with what it got of one image and what it made."""

    name: str
    """Of the layer, such as base.block1.conv1."""
    inputs: Tensor
    """(C, H, W) float32."""
    kernels: Tensor
    """(K, C, k, k) float32."""
    biases: Tensor
    """(K,) float32; zeros where batch normalisation adds its own."""
    stride: int
    padding: int
    """Pixels of zeros on each side."""
    maps: Tensor
    """(K, H', W') float32: the feature maps."""

    @property
    def padded(self) -> Tensor:
        """The input with its margin of zeros, (C, H + 2 padding, W + 2 padding)."""
        return F.pad(self.inputs, (self.padding,) * 4)

    def window(self, kernel: int, row: int, column: int) -> Window:
        """Return the step at which a kernel makes the pixel (row, column) of its feature map."""
        top, left, side = row * self.stride, column * self.stride, self.kernels.shape[2]
        covered = self.padded[:, top : top + side, left : left + side]
        products = covered * self.kernels[kernel]
        total = products.double().sum().item() + self.biases[kernel].item()
        return Window(top=top, left=left, covered=covered, products=products, total=total)

    def loudest_input(self, kernel: int) -> int:
        """Return which of the input's maps adds the most to a kernel's feature map, by the sum of squares."""
        weights = self.kernels[kernel][:, None]  # each map of the input with its own slice of the kernel
        parts = F.conv2d(self.padded[None], weights, stride=self.stride, groups=len(weights))
        return int(parts[0].square().sum((1, 2)).argmax())


@dataclass(frozen=True, kw_only=True, eq=False)
class Variant:
    """The feature map that a kernel makes with another padding and stride."""

    padding: int
    stride: int
    size: tuple[int, int]
    """Height and width of the map; 0 where the window is larger than what it would slide over."""
    map: Tensor | None
    """(H', W') float32; None where nothing fits."""

    def is_of(self, convolution: Convolution) -> bool:
        """Say whether it is what a convolution does itself."""
        return (self.padding, self.stride) == (convolution.padding, convolution.stride)


def convolution_names(model: DigitNet) -> list[str]:
    """List the convolutions of a network in order; an MLP has none."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]


def choose_convolution(model: DigitNet, wanted: str | None) -> str:
    """Find the convolution that a person means: base.block1.conv1, or block1.conv1, or block1. None is the first.

    Raises:
        UsageError: The network has none, or none of this name.
    """
    names = convolution_names(model)
    if not names:
        raise UsageError("--layer and --kernel choose a convolution, and this network is an MLP, which has no kernels")
    if wanted is None:
        return names[0]
    for name in names:
        if wanted.removeprefix("base.") in (name.removeprefix("base."), name.split(".")[1]):
            return name
    shown = ", ".join(name.removeprefix("base.") for name in names)
    raise UsageError(f"--layer {wanted}: no such convolution; this network has {shown}")


def read_convolution(model: DigitNet, stages: Sequence[Stage], name: str) -> Convolution:
    """Take a convolution and what it did out of a trace of the same network."""
    stage = next(stage for stage in stages if stage.layer.name == name)
    module = model.get_submodule(name)
    assert isinstance(module, nn.Conv2d)
    assert isinstance(module.padding, tuple)
    kernels = module.weight.detach().cpu()
    biases = torch.zeros(len(kernels)) if module.bias is None else module.bias.detach().cpu()
    return Convolution(
        name=name,
        inputs=stage.inputs,
        kernels=kernels.contiguous(),
        biases=biases,
        stride=module.stride[0],
        padding=module.padding[0],
        maps=stage.output,
    )


def compare_windows(convolution: Convolution, kernel: int) -> tuple[Variant, ...]:
    """Let one kernel slide over the same input with padding same and valid, each with stride 1 and 2, in this order."""
    same = convolution.kernels.shape[2] // 2
    return tuple(_variant(convolution, kernel, padding, stride) for padding in (same, 0) for stride in (1, 2))


def _variant(convolution: Convolution, kernel: int, padding: int, stride: int) -> Variant:
    height, width = (
        slide_size(side, convolution.kernels.shape[2], padding, stride) for side in convolution.inputs.shape[1:]
    )
    made = None
    if height and width:
        weight, bias = convolution.kernels[kernel : kernel + 1], convolution.biases[kernel : kernel + 1]
        made = F.conv2d(convolution.inputs[None], weight, bias, stride=stride, padding=padding)[0, 0]
    return Variant(padding=padding, stride=stride, size=(height, width), map=made)


def slide_size(side: int, window: int, padding: int, stride: int) -> int:
    """Return how many steps a window has along a side, in pixels; 0 where it is larger than what it slides over.

    Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), relationship 6.
    """
    return max(0, (side + 2 * padding - window) // stride + 1)
