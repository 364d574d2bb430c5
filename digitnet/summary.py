"""What a network is made of: each layer with its output shape, parameters and multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from digitnet.config import IMAGE_SIZE
from digitnet.models import DigitNet


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer, measured on one image."""

    name: str
    """Such as base.block1.conv1."""
    kind: str
    """Such as Conv2d 3x3."""
    output_shape: tuple[int, ...]
    """(channels, height, width) or (units,)."""
    parameters: int
    multiply_adds: int
    """Of its matrix product or convolution, for one image; 0 for a layer that has none."""


@torch.inference_mode()
def summarise(model: DigitNet) -> list[Layer]:
    """Describe each layer of a model in the order that an image passes through them."""
    layers: list[Layer] = []
    hooks = []
    for name, module in model.named_modules():
        if next(module.children(), None) is None:

            def record(module: nn.Module, inputs: tuple[Tensor], output: Tensor, name: str = name) -> None:
                layers.append(_describe(name, module, inputs[0], output))

            hooks.append(module.register_forward_hook(record))
    was_training = model.training
    model.eval()(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE, device=model.mean.device))
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return layers


def _describe(name: str, module: nn.Module, inputs: Tensor, output: Tensor) -> Layer:
    match module:
        case nn.Conv2d():
            kind = f"Conv2d {module.kernel_size[0]}x{module.kernel_size[1]}"
            multiply_adds = output.numel() * module.weight[0].numel()  # a kernel for each pixel of each feature map
        case nn.Linear():
            kind, multiply_adds = "Linear", inputs.shape[1] * output.shape[1]
        case nn.MaxPool2d() | nn.AvgPool2d():
            kind, multiply_adds = f"{type(module).__name__} {module.kernel_size}x{module.kernel_size}", 0
        case _:
            kind, multiply_adds = type(module).__name__, 0
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Layer(
        name=name,
        kind=kind,
        output_shape=tuple(output.shape[1:]),
        parameters=parameters,
        multiply_adds=multiply_adds,
    )
