"""What a network makes of labelled images, counted. Training is in ``engine.py``, the figures in ``metrics.py``."""

from __future__ import annotations

import torch

from digitnet.data.digits import Digits
from digitnet.losses import LossFunction
from digitnet.metrics import Metrics, confusion_counts
from digitnet.models import DigitNet, to_float

EVAL_BATCH = 250  # what a CPU's caches hold


@torch.inference_mode()
def evaluate(model: DigitNet, digits: Digits, loss_fn: LossFunction, dtype: torch.dtype = torch.float32) -> Metrics:
    """Count what a model makes of labelled images, on the device that both are on. Each image counts once."""
    was_training = model.training
    model.eval()
    device = digits.images.device
    loss_sum = torch.zeros((), device=device)
    confusion = torch.zeros(10, 10, dtype=torch.int64, device=device)
    for start in range(0, len(digits), EVAL_BATCH):
        images, targets = digits.images[start : start + EVAL_BATCH], digits.targets[start : start + EVAL_BATCH]
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = model(to_float(images)).float()
        loss_sum += loss_fn(logits, targets) * len(targets)
        confusion += confusion_counts(logits.argmax(1), targets)
    model.train(was_training)
    return Metrics(loss=loss_sum.item() / len(digits), confusion=tuple(map(tuple, confusion.tolist())))
