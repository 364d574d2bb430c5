"""What a network makes of labelled images, counted. Training is in ``engine.py``, the figures in ``metrics.py``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from digitnet.calibration import Calibration, Reliability, reliability
from digitnet.data.digits import Digits
from digitnet.losses import LossFunction
from digitnet.metrics import Metrics, confusion_counts
from digitnet.models import DigitNet, to_float
from digitnet.rejection import Coverage, auroc, coverages, digit_score

EVAL_BATCH = 250  # what a CPU's caches hold
WIDE = 256  # feature maps of a layer, whose 28x28 numbers are 0.2 GB for such a batch
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
    was_training, batch = model.training, _batch_size(model)
    model.eval()
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        parts = [model(to_float(images[start : start + batch])).float() for start in range(0, len(images), batch)]
    model.train(was_training)
    return torch.cat(parts)


def _batch_size(model: DigitNet) -> int:
    """Return how many images at a time fit into the memory: fewer for a network of thousands of feature maps."""
    widest = max((m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)), default=1)
    return max(1, EVAL_BATCH * WIDE // max(WIDE, widest))


@torch.inference_mode()
def count(logits: Tensor, targets: Tensor, loss_fn: LossFunction) -> Metrics:
    """Count answers: logits (N, 10) float32 and targets (N,) int64, on one device."""
    confusion = confusion_counts(logits.argmax(1), targets)
    return Metrics(loss=loss_fn(logits, targets).item(), confusion=tuple(map(tuple, confusion.tolist())))


@dataclass(frozen=True, kw_only=True)
class Telling:
    """How well digits are told from what is none."""

    count: int
    """Pictures that are no digits."""
    auroc: float
    """How often a digit scores above one of them, in [0, 1]: the area under the ROC curve."""
    accepted: tuple[float, ...]
    """Share of them that is accepted, in [0, 1], for each of ``RATES_SHOWN``."""


@torch.inference_mode()
def tell(digits: Tensor, others: Tensor, objected: Tensor, calibration: Calibration) -> Telling:
    """Judge how well a network tells digits from what is none.

    Args:
        digits: Logits of digits, (N, 10), as the network gave them.
        others: Logits of what is none, (M, 10), likewise.
        objected: Whether its ink alone says that it is none, (M,) bool; such a one is below any digit.
        calibration: The network's.
    """
    scores = digit_score(others / calibration.temperature).masked_fill(objected, -math.inf)
    needed = [calibration.thresholds.score(rate) for rate in RATES_SHOWN]
    return Telling(
        count=len(scores),
        auroc=auroc(digit_score(digits / calibration.temperature), scores),
        accepted=tuple((scores >= score).double().mean().item() for score in needed),
    )


@torch.inference_mode()
def assess(logits: Tensor, targets: Tensor, calibration: Calibration) -> Sureness:
    """Judge how sure answers are: logits (N, 10) as the network gave them, and targets (N,) int64."""
    logits, targets = logits.cpu().double() / calibration.temperature, targets.cpu()  # Apple's GPUs know no float64
    right = logits.argmax(1) == targets
    return Sureness(
        reliability=reliability(logits.softmax(1), targets),
        coverages=coverages(digit_score(logits), right, calibration.thresholds, RATES_SHOWN),
    )
