"""Detect and condense: how a block's maps change from layer to layer, and which maps or units are the most active."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from digitnet.explain.trace import Stage
from digitnet.models import DigitNet


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """A block of a base, or a hidden layer of a head: its stages in the order that the image takes."""

    name: str
    """base.block1, or head.dense1."""
    stages: tuple[Stage, ...]

    @property
    def output(self) -> Tensor:
        """What it makes in the end, (C, H, W) or (F,)."""
        return self.stages[-1].output


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What a layer left of the numbers that it got."""

    before: int
    """Numbers that it got."""
    after: int
    """Numbers that it made."""
    zeros: float
    """The share of those that are exactly 0, in [0, 1]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseUnit:
    """A unit of a network's first dense layer that looks at the pixels themselves."""

    index: int
    weights: Tensor
    """(28, 28) float32, one for each pixel."""
    products: Tensor
    """(28, 28) float32: each normalised pixel times its weight."""
    bias: float
    total: float
    """The sum of the products, and the bias: what the unit says before normalisation and activation."""
    output: float
    """What it makes in the end, after these."""


def blocks(stages: Sequence[Stage]) -> tuple[Block, ...]:
    """Cut a trace into blocks of the base and hidden layers of the head; flattening and the output are in none."""
    groups: dict[str, list[Stage]] = {}
    dense = ""
    for stage in stages:
        part, _, leaf = stage.layer.name.rpartition(".")
        if part.startswith("base."):
            groups.setdefault(part, []).append(stage)
        elif part == "head" and not leaf.startswith(("dropout", "output")):
            dense = stage.layer.name if leaf.startswith("dense") else dense
            groups.setdefault(dense, []).append(stage)
    return tuple(Block(name=name, stages=tuple(group)) for name, group in groups.items())


def around(stages: Sequence[Stage], convolution: str) -> Block:
    """Cut out of a trace what a block does with one convolution: from it to the activation that follows."""
    names = [stage.layer.name for stage in stages]
    first, last = names.index(convolution), names.index(convolution.replace(".conv", ".activation"))
    return Block(name=stages[first].block, stages=tuple(stages[first : last + 1]))


def most_active(values: Tensor, count: int) -> list[int]:
    """Return the indices of the most active maps, (C, H, W), or units, (F,): by the mean of the absolute values."""
    activity = values.abs().flatten(1).mean(1) if values.ndim == 3 else values.abs()
    return activity.sort(descending=True, stable=True).indices[:count].tolist()


def shares(stage: Stage) -> Shares:
    """Count what a layer got, what it made, and how much of that is nought."""
    zeros = (stage.output == 0).float().mean().item()
    return Shares(before=stage.inputs.numel(), after=stage.output.numel(), zeros=zeros)


def dense_units(model: DigitNet, stages: Sequence[Stage], chosen: Sequence[int]) -> tuple[DenseUnit, ...]:
    """Take units of the first dense layer of an MLP apart, by their indices."""
    stage = next(stage for stage in stages if stage.layer.kind == "Linear")
    hidden = blocks(stages)
    outputs = hidden[0].output if hidden else stage.output
    module = model.get_submodule(stage.layer.name)
    assert isinstance(module, nn.Linear)
    weights = module.weight.detach().cpu()
    biases = torch.zeros(len(weights)) if module.bias is None else module.bias.detach().cpu()
    return tuple(
        DenseUnit(
            index=index,
            weights=weights[index].view(28, 28),
            products=(weights[index] * stage.inputs).view(28, 28),
            bias=biases[index].item(),
            total=stage.output[index].item(),
            output=outputs[index].item(),
        )
        for index in chosen
    )
