"""Which pixels speak for an answer: integrated gradients, whose shares add up to what they explain.

Source: Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks" (2017). The gradient is averaged along the
straight line from a baseline to the picture, and each pixel's share is that times how far the pixel has moved. By the
fundamental theorem of calculus the shares sum to the rise of the logit (completeness), which is checked, not assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from digitnet.models import DigitNet

STEPS = 64  # of the line, doubled until the shares add up
MAX_STEPS = 512
BATCH_SIZE = 64
TOLERANCE = 0.01  # of the rise that is explained, or of a logit where it is less than one


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribution:
    """Each pixel's share in the lead of one digit over another."""

    answer: int
    rival: int | None
    """The digit whose logit is taken off; None where the answer's logit is explained by itself."""
    shares: Tensor
    """(28, 28) float32: above 0 where a pixel speaks for the answer, below 0 where it speaks for the rival."""
    rise: float
    """What is explained: the lead on the picture minus the lead on the baseline, in logits."""
    start: float
    """The lead on the baseline."""
    steps: int
    """Points of the line at which the gradient was taken."""

    @property
    def residual(self) -> float:
        """What the shares miss of the rise: 0 if they add up."""
        return self.rise - self.shares.double().sum().item()


def attribute(
    model: DigitNet, image: Tensor, answer: int, rival: int | None = None, *, baseline: Tensor | None = None
) -> Attribution:
    """Share out the lead of an answer among the pixels.

    Args:
        model: In evaluation mode.
        image: (1, 28, 28) float32 in [0, 1].
        answer: The digit that is spoken for.
        rival: The digit that is spoken against; None explains the answer's logit alone.
        baseline: What the picture is compared with, as ``image``; None is black, on which no pixel that is black in
            the picture has a share.
    """
    device = model.mean.device
    end = image.to(device)
    start = torch.zeros_like(end) if baseline is None else baseline.to(device)
    with torch.no_grad():
        first, last = _lead(model(torch.stack([start, end])), answer, rival).double().tolist()
    steps = STEPS
    while True:
        shares = (end - start) * _mean_gradient(model, start, end, answer, rival, steps)
        missed = abs(last - first - shares.double().sum().item())
        if missed <= TOLERANCE * max(1.0, abs(last - first)) or steps >= MAX_STEPS:
            break
        steps *= 2
    return Attribution(answer=answer, rival=rival, shares=shares[0].cpu(), rise=last - first, start=first, steps=steps)


def _lead(logits: Tensor, answer: int, rival: int | None) -> Tensor:
    """Return the answer's logit, less the rival's where there is one: (N, 10) to (N,)."""
    return logits[:, answer] if rival is None else logits[:, answer] - logits[:, rival]


def _mean_gradient(model: DigitNet, start: Tensor, end: Tensor, answer: int, rival: int | None, steps: int) -> Tensor:
    """Average the gradient of the lead, (1, 28, 28), over the midpoints of ``steps`` equal parts of the line."""
    total = torch.zeros_like(end)
    places = (torch.arange(steps, device=end.device) + 0.5) / steps
    for at in range(0, steps, BATCH_SIZE):
        points = (start + places[at : at + BATCH_SIZE, None, None, None] * (end - start)).requires_grad_()
        (gradient,) = torch.autograd.grad(_lead(model(points), answer, rival).sum(), points)
        total += gradient.sum(0)
    return total / steps
