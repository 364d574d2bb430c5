"""What a network makes of labelled images, counted. Training is in ``engine.py``, the figures in ``metrics.py``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from digitnet.calibration import Calibration, Reliability, reliability
from digitnet.data.digits import Digits
from digitnet.losses import LossFunction
from digitnet.metrics import Metrics, confusion_counts
from digitnet.models import DigitNet, to_float
from digitnet.rejection import Coverage, coverages, digit_score

EVAL_BATCH = 250  # what a CPU's caches hold
RATES_SHOWN = (0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True, kw_only=True)
class Sureness:
    """Whether a network is as sure as it is right, and what it gains by turning images away."""

    reliability: Reliability
    coverages: tuple[Coverage, ...]
    """For each of ``RATES_SHOWN``."""


def evaluate(model: DigitNet, digits: Digits, loss_fn: LossFunction, dtype: torch.dtype = torch.float32) -> Metrics:
    """Count what a model makes of labelled images, on the device that both are on. Each image counts once."""
    return count(logits_of(model, digits.images, dtype), digits.targets, loss_fn)


@torch.inference_mode()
def logits_of(model: DigitNet, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Run a model, as in use and not as in training, over images of any number.

    Args:
        model: On the images' device; it is left in the mode that it was in.
        images: (N, 1, 28, 28) uint8.
        dtype: What matrix products run in.

    Returns:
        Logits, (N, 10) float32, on that device.
    """
    was_training = model.training
    model.eval()
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        parts = [
            model(to_float(images[start : start + EVAL_BATCH])).float() for start in range(0, len(images), EVAL_BATCH)
        ]
    model.train(was_training)
    return torch.cat(parts)


@torch.inference_mode()
def count(logits: Tensor, targets: Tensor, loss_fn: LossFunction) -> Metrics:
    """Count answers: logits (N, 10) float32 and targets (N,) int64, on one device."""
    confusion = confusion_counts(logits.argmax(1), targets)
    return Metrics(loss=loss_fn(logits, targets).item(), confusion=tuple(map(tuple, confusion.tolist())))


@torch.inference_mode()
def assess(logits: Tensor, targets: Tensor, calibration: Calibration) -> Sureness:
    """Judge how sure answers are: logits (N, 10) as the network gave them, and targets (N,) int64."""
    logits, targets = logits.cpu().double() / calibration.temperature, targets.cpu()  # Apple's GPUs know no float64
    right = logits.argmax(1) == targets
    return Sureness(
        reliability=reliability(logits.softmax(1), targets),
        coverages=coverages(digit_score(logits), right, calibration.thresholds, RATES_SHOWN),
    )
