"""Where the arithmetic runs, how precisely, and where randomness comes from."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys

import torch

from digitnet.config import DeviceName, PrecisionName
from digitnet.errors import UsageError


def choose_device(name: DeviceName) -> torch.device:
    """Turn a name into a device; auto takes a GPU where there is one.

    Raises:
        UsageError: This machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in available.items() if there))
    if not available[name]:
        raise UsageError(f"this machine has no {name} device that PyTorch can use; try --device auto")
    return torch.device(name)


def choose_precision(name: PrecisionName, device: torch.device) -> torch.dtype:
    """Turn a name into the type that matrix products run in; auto takes bfloat16 where the hardware has it.

    Returns:
        torch.float32 or torch.bfloat16.
    """
    if name == "auto":
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    return torch.bfloat16 if name == "bf16" else torch.float32


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere; older ones emulate it slowly
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def use_deterministic_algorithms(wanted: bool) -> None:
    """Let PyTorch use only algorithms that give the same bits each time, or whichever is fastest.

    Source: https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    if torch.are_deterministic_algorithms_enabled() == wanted:
        return  # to say so once more would import half of PyTorch's compiler
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(wanted)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # a check for bugs, which takes time


def keep_freed_memory() -> None:
    """Let the C library keep memory that is freed for what comes next, instead of giving it back to the system.

    Getting it anew, page by page, took a quarter of each step of training. Only glibc gives it back so soon.

    Source: mallopt(3), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-1, 1 << 30)
        mallopt(-3, 32 << 20)  # the most that it takes; larger blocks are mapped on their own


def derive_seed(seed: int, epoch: int, purpose: str) -> int:
    """Derive a seed that depends on nothing else, so that epoch 7 is known without running epochs 1 to 6."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits everywhere


def generator(seed: int, epoch: int, purpose: str, device: torch.device) -> torch.Generator:
    """Make the random generator of one purpose in one epoch, on a device."""
    return torch.Generator(device).manual_seed(derive_seed(seed, epoch, purpose))
