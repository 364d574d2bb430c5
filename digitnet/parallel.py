"""A network whose training several processes share: each takes a part of every batch, and all make the same step.

Gradients are averaged by PyTorch's DistributedDataParallel while the backward pass goes on. Here is what has to be the
same beside them. The processes themselves are in ``distributed.py``.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from digitnet.config import IMAGE_SIZE, ModelConfig
from digitnet.models import DigitNet, build_model

BUCKET_MB = 1.0  # of gradients that are sent together: the first are on their way before the last are there


def parallelise(model: DigitNet) -> DistributedDataParallel:
    """Let the processes of a launch share the training of a network that is the same in all of them.

    Batch normalisation takes the mean and the variance of the whole batch where PyTorch can, on CUDA GPUs. On a CPU
    each process takes those of its part of the batch, and what they keep of them is averaged, see ``Exchange``.
    """
    if next(model.parameters()).is_cuda:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call] # the layers in it, in place
    # Buffers are not copied from the first process at each step: that would have seen its part of the images alone.
    buffers = [name for name, _ in model.named_buffers()]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, buffers)  # type: ignore[no-untyped-call]
    shared = DistributedDataParallel(model, gradient_as_bucket_view=True, bucket_cap_mb=BUCKET_MB)
    _settle(shared)
    return shared


def _settle(shared: DistributedDataParallel) -> None:
    """Make a step that changes nothing.

    From the first backward pass PyTorch learns in which order gradients come, and it arranges its messages by that from
    the second on; how they are arranged shows in the last bits of sums. A training that goes on from a state would be
    at its first where one that never stopped is not.
    """
    kept = {name: buffer.clone() for name, buffer in shared.module.named_buffers()}
    some = torch.zeros(4, 1, IMAGE_SIZE, IMAGE_SIZE, device=next(shared.parameters()).device)
    shared(some).sum().backward()
    shared.zero_grad(set_to_none=True)
    for name, buffer in shared.module.named_buffers():
        buffer.copy_(kept[name])


class Exchange:
    """What the processes tell each other at each step beside gradients, in one message while the backward pass goes on.

    That is the running means and variances of batch normalisation, of which each has those of its part of the images
    and all get the mean, and numbers that are added up.
    """

    def __init__(self, model: DistributedDataParallel, numbers: int) -> None:
        """Lay all of it side by side in memory; ``numbers`` says how many there are to add up."""
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and not isinstance(m, nn.SyncBatchNorm)]
        own = [(norm, name) for norm in norms for name in ("running_mean", "running_var")]
        parts = [getattr(norm, name) for norm, name in own]
        self._message = torch.cat([torch.zeros(numbers), *parts])
        self._numbers, *views = torch.split(self._message, [numbers, *map(len, parts)])
        for (norm, name), view in zip(own, views, strict=True):
            setattr(norm, name, view)
        self._work: dist.Work | None = None
        # The forward pass is the last to change the running means.
        model.register_forward_hook(lambda *_: self._send())

    def begin(self, *numbers: float) -> None:
        """Say which numbers go with the next step."""
        self._numbers.copy_(torch.tensor(numbers))

    def _send(self) -> None:
        self._work = dist.all_reduce(self._message, async_op=True)

    def end(self) -> None:
        """Wait until all have been told, and take what they have told."""
        assert self._work is not None
        self._work.wait()
        self._message[len(self._numbers) :] /= dist.get_world_size()

    def sums(self) -> list[float]:
        """Return the numbers of all processes, added up."""
        sums: list[float] = self._numbers.tolist()
        return sums


def has_batch_norm(model: nn.Module) -> bool:
    """Say whether a network normalises by the batch that it is trained on."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def bytes_per_step(config: ModelConfig, processes: int, device: str) -> int:
    """Return how many bytes each process sends for a step, where they compute on such a device.

    Gradients are added up around a ring, in which each process sends all numbers twice but for its own share of them.
    On a CPU the running means and variances go the same way. On a GPU batch normalisation sends the mean, the spread
    and the number of each process's part to all the others, and adds up two gradients on the way back. What messages
    are wrapped in, some hundred bytes each, is not counted.

    Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations" (2009).
    """
    with torch.device("meta"):
        model = build_model(config)
    norms = [module.num_features for module in model.modules() if isinstance(module, _BatchNorm)]
    summed = sum(parameter.numel() for parameter in model.parameters()) + sum(2 * size for size in norms)
    gathered = sum(2 * size + 1 for size in norms) if device == "cuda" else 0
    return 4 * (2 * (processes - 1) * summed // processes + (processes - 1) * gathered)
