"""What a network makes of labelled images, counted. Training is in ``engine.py``, the figures in ``metrics.py``."""

from __future__ import annotations

import torch
from torch import Tensor

from digitnet.data.digits import Digits
from digitnet.losses import LossFunction
from digitnet.metrics import Metrics, confusion_counts
from digitnet.models import DigitNet, to_float

EVAL_BATCH = 250  # what a CPU's caches hold


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
