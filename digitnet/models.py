"""The networks: an MLP, and a CNN of a base (convolutional blocks) and a head (dense layers)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from digitnet.config import IMAGE_SIZE, NUM_CLASSES, PER_BLOCK, ActivationName, CNNConfig, MLPConfig, ModelConfig


class DigitNet(nn.Module):
    """A network that takes images as they are and normalises them itself.

    ``base`` turns images into features, ``head`` turns features into logits. An MLP's base only flattens.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, base: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.head = head
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits.

        Args:
            images: (N, 1, 28, 28) float32 in [0, 1].

        Returns:
            Logits, (N, 10).
        """
        logits: Tensor = self.head(self.base((images - self.mean) / self.std))
        return logits

    def set_normalisation(self, images: Tensor) -> None:
        """Take mean and standard deviation from training images, (N, 1, 28, 28) uint8, 10,000 to 20,000 of them."""
        some = images[:: max(1, len(images) // 10_000)]  # all 60,000 would cost a fast run a twentieth of its time
        counts = torch.bincount(some.reshape(-1), minlength=256).double()
        values = torch.arange(256, dtype=torch.float64) / 255
        mean = (counts * values).sum() / counts.sum()
        std = ((counts * (values - mean).square()).sum() / counts.sum()).sqrt()
        self.mean.fill_(mean.item())
        self.std.fill_(max(std.item(), 1e-6))  # blank images have none


def place(model: DigitNet, device: torch.device) -> DigitNet:
    """Move a model to a device, in the layout that its convolutions run best in there.

    On MPS that is not channels_last, in which PyTorch got batch normalisation's gradients wrong until June 2026.
    Source: https://github.com/pytorch/pytorch/issues/175189.
    """
    if device.type == "mps":
        model = model.to(memory_format=torch.contiguous_format)
    return model.to(device)


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 images into what a model takes: float32 in [0, 1], the same shape."""
    return images.float().div_(255)


class FlattenPixels(nn.Module):
    """Flatten feature maps pixel by pixel, the channels of each side by side.

    That is how channels_last keeps them, so neither they nor, on the way back, their gradients are moved. Gradients in
    another order cost the layers before it up to thirty times their time on a CPU (PyTorch 2.15, bf16).
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Turn feature maps, (N, C, H, W), into features, (N, H * W * C)."""
        return maps.permute(0, 2, 3, 1).flatten(1)


def build_model(config: ModelConfig) -> DigitNet:
    """Build a network with fresh random weights, drawn from torch's global generator."""
    if isinstance(config, MLPConfig):
        head = _build_head(IMAGE_SIZE**2, config)
        return DigitNet(nn.Flatten(), head)
    model = DigitNet(_build_base(config), _build_head(_features(config), config))
    return model.to(memory_format=torch.channels_last)  # the layout that convolutions run fastest in


def _build_base(config: CNNConfig) -> nn.Sequential:
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 1
    for number, width in enumerate(config.channels, start=1):
        blocks[f"block{number}"] = _build_block(number, channels, width, config)
        channels = width
    blocks["flatten"] = FlattenPixels()
    return nn.Sequential(blocks)


def _build_block(block: int, channels: int, width: int, config: CNNConfig) -> nn.Sequential:
    """Build (convolution, normalisation, activation) times convs_per_block, with pooling after the last convolution.

    Pooling by 2 before normalisation and activation leaves these a quarter of the numbers. It is another network than
    the other way round, but with max pooling and an activation that only rises, as ReLU does, nearly the same one.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    kernel, stride, pool, pool_stride = (config.per_block(name)[block - 1] for name in PER_BLOCK)
    for number in range(1, config.convs_per_block + 1):
        layers[f"conv{number}"] = nn.Conv2d(
            channels if number == 1 else width,
            width,
            kernel,
            stride=stride if number == 1 else 1,
            padding=kernel // 2 if config.padding == "same" else 0,
            bias=not config.batch_norm,  # batch normalisation adds its own
        )
        if number == config.convs_per_block and (pool > 1 or pool_stride > 1):
            layers["pool"] = (nn.MaxPool2d if config.pool == "max" else nn.AvgPool2d)(pool, pool_stride)
        if config.batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm2d(width)
        layers[f"activation{number}"] = build_activation(config.activation)
    return nn.Sequential(layers)


def _build_head(features: int, config: ModelConfig) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if config.dropout and isinstance(config, CNNConfig):
        layers["dropout0"] = nn.Dropout(config.dropout)  # an MLP's first layer gets pixels, which stay whole
    for number, size in enumerate(config.hidden_sizes, start=1):
        layers[f"dense{number}"] = nn.Linear(features, size, bias=not config.batch_norm)
        if config.batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm1d(size)
        layers[f"activation{number}"] = build_activation(config.activation)
        if config.dropout:
            layers[f"dropout{number}"] = nn.Dropout(config.dropout)
        features = size
    layers["output"] = nn.Linear(features, NUM_CLASSES)
    return nn.Sequential(layers)


def _features(config: CNNConfig) -> int:
    """Return how many numbers the base makes of an image."""
    side = list(config.feature_map_sizes().values())[-1]
    return config.channels[-1] * side * side


def build_activation(name: ActivationName) -> nn.Module:
    """Build an activation by name."""
    match name:
        case "relu":
            return nn.ReLU()
        case "gelu":
            return nn.GELU()
        case "silu":
            return nn.SiLU()
        case "tanh":
            return nn.Tanh()
        case "sigmoid":
            return nn.Sigmoid()
        case "identity":
            return nn.Identity()
