"""One step of training: forward, loss, backward, update."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from digitnet.losses import LossFunction
from digitnet.optim import clip_gradients, update


def train_step(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    loss_fn: LossFunction,
    optimizer: Optimizer,
    dtype: torch.dtype,
    max_grad_norm: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Run one step: forward, loss, backward, update.

    Args:
        model: In training mode. Where several processes share a batch, it is within PyTorch's DistributedDataParallel,
            by which each has the gradients of the whole batch.
        images: (N, 1, 28, 28) float32 in [0, 1]; after them may come M that are no digits, for the loss to tell apart.
        targets: (N,) int64.
        loss_fn: From ``build_loss``.
        optimizer: Over the model's parameters.
        dtype: What matrix products run in; parameters stay float32.
        max_grad_norm: Scale gradients down to this norm, of all of them together, where it is larger.

    Returns:
        The batch's mean loss, (), and its number of correct predictions, (), both still on the device.
    """
    loss, logits = learn(model, images, targets, loss_fn, optimizer, dtype, max_grad_norm)
    return loss, (logits[: len(targets)].argmax(1) == targets).sum()


def learn(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    loss_fn: LossFunction,
    optimizer: Optimizer,
    dtype: torch.dtype,
    max_grad_norm: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Run a step as ``train_step`` does, whatever the loss function takes for targets.

    Returns:
        The batch's loss, (), and its logits, (N, 10), as the model made them; neither has gradients.
    """
    # Without the cache, of no use to a network that uses each weight once, a step can be captured in a CUDA graph.
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False):
        logits = model(images)
    loss = loss_fn(logits.float(), targets)
    loss.backward()  # type: ignore[no-untyped-call]
    if max_grad_norm is not None:
        clip_gradients(model, max_grad_norm)
    update(optimizer)
    model.zero_grad(set_to_none=True)
    return loss.detach(), logits.detach()
