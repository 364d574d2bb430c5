"""The networks: an MLP, and a CNN of a base (convolutional blocks) and a head (dense layers)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from digitnet.config import IMAGE_SIZE, NUM_CLASSES, ActivationName, CNNConfig, MLPConfig, ModelConfig


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
        """Take mean and standard deviation from training images, (N, 1, 28, 28) uint8."""
        counts = torch.bincount(images.reshape(-1), minlength=256).double()
        values = torch.arange(256, dtype=torch.float64) / 255
        mean = (counts * values).sum() / counts.sum()
        std = ((counts * (values - mean).square()).sum() / counts.sum()).sqrt()
        self.mean.fill_(mean.item())
        self.std.fill_(max(std.item(), 1e-6))  # blank images have none


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
        blocks[f"block{number}"] = _build_block(channels, width, config)
        channels = width
    blocks["flatten"] = nn.Flatten()
    return nn.Sequential(blocks)


def _build_block(channels: int, width: int, config: CNNConfig) -> nn.Sequential:
    """Build (convolution, normalisation, activation) times convs_per_block, then pooling."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, config.convs_per_block + 1):
        layers[f"conv{number}"] = nn.Conv2d(
            channels if number == 1 else width,
            width,
            config.kernel_size,
            stride=config.stride if number == 1 else 1,
            padding=config.kernel_size // 2 if config.padding == "same" else 0,
            bias=not config.batch_norm,  # batch normalisation adds its own
        )
        if config.batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm2d(width)
        layers[f"activation{number}"] = build_activation(config.activation)
    if config.pool_size is not None and config.pool_stride is not None:
        pool = nn.MaxPool2d if config.pool == "max" else nn.AvgPool2d
        layers["pool"] = pool(config.pool_size, config.pool_stride)
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
