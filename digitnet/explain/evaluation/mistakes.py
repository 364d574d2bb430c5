"""The images that a network read wrongly, the surest of its wrong answers first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from digitnet.arrays import Pixels
from digitnet.calibration import Calibration
from digitnet.data.digits import Digits


@dataclass(frozen=True, kw_only=True, eq=False)
class Mistake:
    """One image, and what was read instead of its digit."""

    index: int
    """Which image of the set, counted from 0."""
    truth: int
    answer: int
    confidence: float
    """Calibrated probability of the answer, in [0, 1]."""
    truth_probability: float
    """Calibrated probability of the true digit, in [0, 1]."""
    pixels: Pixels
    """(28, 28) uint8, light ink on black."""


@torch.inference_mode()
def find_mistakes(digits: Digits, logits: Tensor, calibration: Calibration) -> list[Mistake]:
    """Find what was read wrongly, by how sure the wrong answer was, surest first.

    Args:
        digits: N labelled images.
        logits: What the network made of them, (N, 10) float32, on any device.
        calibration: The network's.
    """
    probs = (logits.cpu().double() / calibration.temperature).softmax(1)
    confidence, answers = probs.max(1)
    targets = digits.targets.cpu()
    wrong = (answers != targets).nonzero()[:, 0]
    order = wrong[confidence[wrong].sort(descending=True, stable=True).indices]
    truth_probs = probs.gather(1, targets[:, None])[:, 0]
    pixels = digits.images[order.to(digits.images.device)].cpu().numpy()
    rows = zip(order.tolist(), pixels[:, 0], strict=True)
    return [
        Mistake(
            index=i,
            truth=int(targets[i]),
            answer=int(answers[i]),
            confidence=float(confidence[i]),
            truth_probability=float(truth_probs[i]),
            pixels=image,
        )
        for i, image in rows
    ]
