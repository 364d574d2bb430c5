"""The training loop that people run, ``engine.fit``: its time, and its operations as PyTorch counts them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.product import wait_for
from digitnet import engine, stepper
from digitnet.config import RunConfig
from digitnet.data.digits import Digits
from digitnet.data.load import load_training
from digitnet.data.order import CPU
from digitnet.device import choose_precision
from digitnet.models import place
from digitnet.progress import EpochResult, StepResult
from digitnet.recipes import PresetName, build_config
from digitnet.step import train_step
from digitnet.training import new_model


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A run of the loop."""

    images_per_s: float
    """Without its first twentieth of an epoch, in which memory is found and kernels are chosen."""
    images_per_s_all: float
    """With it."""
    seconds: float
    """From the call to the last result."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """What to train on, on a device; and a few digits to validate on, so that it is training that is timed."""

    train: Digits
    few: Digits


def load_data(device: torch.device, size: int | None = None) -> Data:
    """Load MNIST's training part, or so many images of it."""
    train, validation = load_training("mnist", size=size)
    return Data(train=train.to(device), few=validation.take(torch.arange(10)).to(device))


def configure(preset: PresetName, seed: int = 0, **overrides: Any) -> RunConfig:
    """Build the configuration of a preset of the CNN, with single settings put over it."""
    return build_config(preset=preset, overrides={"seed": seed, **overrides})


def timed_fit(config: RunConfig, data: Data, device: torch.device, limit_s: float | None = None) -> Timed:
    """Run the loop by a preset, to its end or until ``limit_s`` is over, reading the clock at each of its results.

    A GPU is waited for at each of them, some twenty times an epoch: the loop itself would go on.
    """
    model = place(new_model(config, data.train), device)
    dtype = choose_precision(config.train.precision, device)
    wait_for(device)
    started = time.perf_counter()
    marks: list[tuple[int, float]] = []
    for result in engine.fit(model, data.train, data.few, config.train, dtype):
        assert isinstance(result, StepResult | EpochResult)
        wait_for(device)
        marks.append((result.step, time.perf_counter() - started))
        if limit_s is not None and marks[-1][1] >= limit_s and len(marks) > 1:
            break
    (first_step, first_s), (last_step, last_s) = marks[0], marks[-1]
    batches = -(-len(data.train) // config.train.batch_size)
    images = len(data.train) / batches  # of a step; batches are equal to within one image
    steady = images * (last_step - first_step) / (last_s - first_s) if last_step > first_step else images / last_s
    return Timed(images_per_s=steady, images_per_s_all=images * last_step / last_s, seconds=last_s)


def flops_per_image(config: RunConfig, data: Data) -> float:
    """Count, with PyTorch's own counter, the operations of one real training step: forward and backward as they run.

    Convolutions and matrix products count, two operations for each multiply-add; what has neither counts nothing.
    """
    batch = config.train.batch_size
    few = data.train.take(torch.arange(4 * batch, device=data.train.images.device)).to(CPU)
    counts: list[int] = []
    real = train_step

    def counted(*arguments: Any, **options: Any) -> Any:
        with FlopCounterMode(display=False) as counter:
            result = real(*arguments, **options)
        counts.append(counter.get_total_flops())
        return result

    dtype = choose_precision(config.train.precision, data.train.images.device)
    with patch.object(stepper, "train_step", counted):
        next(iter(engine.fit(new_model(config, few), few, data.few.to(CPU), config.train, dtype)))
    assert sum(counts) > 0, "the loop no longer calls step.train_step, so its operations were not counted"
    return counts[0] / batch
