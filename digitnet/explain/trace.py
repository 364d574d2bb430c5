"""What each layer of a network gets and makes, of one image; and what its blocks make of many.

The tensors are those of a plain forward pass, taken by hooks, so that nothing is computed a second way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from digitnet.models import DigitNet, FlattenPixels, to_float
from digitnet.summary import Layer, summarise

BATCH_SIZE = 100
MAX_FEATURES = 10_000  # of one representation: 3,000 images of it take 120 MB,
MOST_FEATURES = 80_000  # and of all that are kept of an image, however deep the network
PIXELS = "pixels"


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One layer at work on one image."""

    layer: Layer
    inputs: Tensor
    """(C, H, W) or (F,) float32."""
    output: Tensor
    """(C, H, W) or (F,) float32."""

    @property
    def block(self) -> str:
        """The block or part that it belongs to, such as base.block1 or head."""
        return self.layer.name.rpartition(".")[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Representation:
    """What a part of a network makes of images, flattened: what the next part knows of them."""

    name: str
    """pixels, a block such as base.block1, a layer such as head.activation1, or head.output."""
    shape: tuple[int, ...]
    """Of one image: (C, H, W) or (F,)."""
    pooled: tuple[int, ...] | None
    """The shape after averaging, where there were too many numbers to keep of many images; else None."""
    features: Tensor
    """(N, F) float32, on the CPU; maps of many channels are averaged to fewer pixels."""


def trace(model: DigitNet, image: Tensor) -> tuple[Stage, ...]:
    """Pass one image through a network, and keep what each layer got and made, in order.

    Args:
        model: In evaluation mode.
        image: (1, 28, 28) uint8.
    """
    layers = {layer.name: layer for layer in summarise(model)}
    passed: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str, inputs: Tensor, output: Tensor) -> None:
        passed[name] = (inputs[0].cpu(), output[0].cpu())

    modules = {name: model.get_submodule(name) for name in layers}
    with torch.no_grad(), _watched(modules, keep):
        model(to_float(image[None].to(model.mean.device)))
    return tuple(
        Stage(layer=layers[name], inputs=inputs.contiguous(), output=output.contiguous())
        for name, (inputs, output) in passed.items()
    )


def represent(model: DigitNet, images: Tensor) -> tuple[Representation, ...]:
    """Pass many images through a network, and keep what each of its parts made of them, from the pixels to the logits.

    Args:
        model: In evaluation mode.
        images: (N, 1, 28, 28) uint8.
    """
    parts = _parts(model)
    limit = min(MAX_FEATURES, MOST_FEATURES // len(parts))
    kept: dict[str, list[Tensor]] = {PIXELS: [], **{name: [] for name in parts}}
    shapes: dict[str, tuple[int, ...]] = {PIXELS: tuple(images.shape[1:])}

    def keep(name: str, _: Tensor, output: Tensor) -> None:
        shapes[name] = tuple(output.shape[1:])
        kept[name].append(reduce(output, limit).cpu())

    with torch.no_grad(), _watched(parts, keep):
        for start in range(0, len(images), BATCH_SIZE):
            batch = images[start : start + BATCH_SIZE]
            kept[PIXELS].append(to_float(batch))
            model(to_float(batch.to(model.mean.device)))
    return tuple(_gather(name, shapes[name], kept[name]) for name in kept)


def _gather(name: str, shape: tuple[int, ...], batches: list[Tensor]) -> Representation:
    whole = torch.cat(batches)
    pooled = tuple(whole.shape[1:]) if tuple(whole.shape[1:]) != shape else None
    return Representation(name=name, shape=shape, pooled=pooled, features=whole.flatten(1))


def reduce(output: Tensor, limit: int) -> Tensor:
    """Average maps (N, C, H, W) to at most ``limit`` numbers an image, and one a map; leave all else alone."""
    if output.ndim != 4 or output[0].numel() <= limit:
        return output
    side = max(1, int((limit / output.shape[1]) ** 0.5))
    return F.adaptive_avg_pool2d(output, (min(side, output.shape[2]), min(side, output.shape[3])))


def last_hidden(model: DigitNet) -> str:
    """Name the last representation before the logits: a hidden layer's, a block's, or the pixels themselves."""
    return [PIXELS, *_parts(model)][-2]


def _parts(model: DigitNet) -> dict[str, nn.Module]:
    """Name the blocks of the base, the activations of the head, and its output."""
    base, head = list(model.base.named_children()), list(model.head.named_children())
    blocks = {f"base.{name}": part for name, part in base if not isinstance(part, FlattenPixels)}
    return blocks | {f"head.{name}": part for name, part in head if name.startswith(("activation", "output"))}


@contextmanager
def _watched(modules: Mapping[str, nn.Module], keep: Callable[[str, Tensor, Tensor], None]) -> Iterator[None]:
    """Hand what each module gets and makes to ``keep``, for as long as the context lasts."""

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return module.register_forward_hook(lambda _, inputs, output: keep(name, inputs[0], output))

    handles = [watch(name, module) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
