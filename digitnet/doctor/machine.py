"""What digitnet computes with and speaks to: processors that get a product right, precision, threads, the terminal."""

from __future__ import annotations

import os
import platform
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from digitnet.doctor.check import Check, counted, fail, ok, reason, warn
from digitnet.drawing import has_blocks

if TYPE_CHECKING:
    import torch

OTHER_TORCH = "install the PyTorch that fits it (https://pytorch.org/get-started/locally), or use --device cpu"
WRONG = "do not trust results of this device; use another one by --device"


def check_cpu(name: str) -> Check:
    """Multiply two matrices on the CPU."""
    import torch

    if not multiplies_right(torch.device("cpu"), torch.float32):
        return fail(name, "a small matrix product comes out wrong", "install PyTorch anew; look for faulty memory")
    return ok(
        name, f"{platform.machine()}, {counted(count_cores(), 'core')} for this process, a matrix product is right"
    )


def check_gpu(name: str) -> Check:
    """Multiply two matrices on each GPU that PyTorch sees; where it sees none, say whether there is one."""
    import torch

    from digitnet.device import choose_precision

    with warnings.catch_warnings(record=True) as said:  # why there is none
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [torch.device("cuda", index) for index in range(count)]
    if torch.backends.mps.is_available():
        devices.append(torch.device("mps"))
    if not devices:
        return _without_gpu(name, str(said[0].message) if said else "")
    for device in devices:
        try:
            types = {torch.float32, choose_precision("auto", device)}
            is_right = all(multiplies_right(device, dtype) for dtype in types)
        except Exception as error:  # a PyTorch that was made without this GPU's kernels, or its memory is full
            return fail(name, f"{describe(device)} does not work: {reason(error)}", OTHER_TORCH)
        if not is_right:
            return fail(name, f"{describe(device)}: a small matrix product comes out wrong", WRONG)
    return ok(name, f"{', '.join(map(describe, devices))}; a matrix product is right")


def describe(device: torch.device) -> str:
    """Name a GPU, with its memory where that is its own."""
    import torch

    if device.type == "mps":
        return "mps: Apple's GPU"
    found = torch.cuda.get_device_properties(device)
    return f"{device}: {found.name}, {found.total_memory / 1e9:.0f} GB"


def _without_gpu(name: str, said: str) -> Check:
    import torch

    if not _has_nvidia():
        return ok(name, "none; the CPU does all")
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return ok(name, "an NVIDIA GPU, hidden by CUDA_VISIBLE_DEVICES")
    if torch.version.cuda is None:
        return warn(name, "an NVIDIA GPU, and a PyTorch that is made without CUDA", OTHER_TORCH)
    why = said.splitlines()[0] if said else f"PyTorch, made for CUDA {torch.version.cuda}, does not see it"
    return warn(name, f"an NVIDIA GPU: {why}", f"renew its driver, or {OTHER_TORCH}")


def _has_nvidia() -> bool:
    return Path("/proc/driver/nvidia/gpus").is_dir() or shutil.which("nvidia-smi") is not None


def multiplies_right(device: torch.device, dtype: torch.dtype) -> bool:
    """Multiply two matrices of 0 and 1, and compare with sums of integers; up to 64, bfloat16 is exact, too."""
    import torch

    left, right = torch.randint(2, (2, 64, 64), generator=torch.Generator().manual_seed(0))
    exact = (left[:, :, None] * right).sum(1)
    product = left.to(device, dtype) @ right.to(device, dtype)
    return torch.equal(product.cpu().to(exact.dtype), exact)


def check_precision(name: str) -> Check:
    """Say what --device auto and --precision auto take."""
    import torch

    from digitnet.device import choose_device, choose_precision

    device = choose_device("auto")
    if choose_precision("auto", device) is torch.bfloat16:
        return ok(name, f"auto takes bf16 on {device.type}, whose hardware multiplies in it")
    return ok(name, f"auto takes fp32 on {device.type}, whose hardware does not multiply in bf16")


def check_threads(name: str) -> Check:
    """Compare PyTorch's threads with the cores that this process may use."""
    import torch

    threads, cores, chosen = torch.get_num_threads(), count_cores(), os.environ.get("OMP_NUM_THREADS")
    told = f", OMP_NUM_THREADS is {chosen}" if chosen is not None else ""
    found = f"{threads} for {counted(cores, 'core')}{told}"
    if chosen is not None and not all(part.strip().isdecimal() for part in chosen.split(",")):
        return warn(name, f"{found}, which is no number", f"set OMP_NUM_THREADS={cores}, or unset it")
    if threads > cores:  # they wait for each other
        return warn(name, f"{found}: more threads than cores are slow", f"set OMP_NUM_THREADS={cores}")
    return ok(name, found)


def count_cores() -> int:
    """Return how many cores this process may use: those that it is bound to, or its container's share of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = cgroup_share(Path("/sys/fs/cgroup"))
    return cores if share is None else max(1, min(cores, int(share)))


def cgroup_share(root: Path) -> float | None:
    """Return how many cores a container may use, such as 1.5; None where nothing is said of it.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max), and of version 1, sched-bwc.
    """
    try:
        if (limits := root / "cpu.max").is_file():
            quota, period = limits.read_text().split()
        else:
            quota, period = ((root / "cpu" / f"cpu.cfs_{n}_us").read_text().strip() for n in ("quota", "period"))
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def check_terminal(name: str, output: TextIO) -> Check:
    """Say where results are printed: a terminal or not, its width, what it can write, and whether in colour."""
    encoding = getattr(output, "encoding", None) or "ascii"
    if not output.isatty():
        found = f"none, but a file or a pipe: plain text in {encoding}"
    else:
        plain = "NO_COLOR" if os.environ.get("NO_COLOR") else os.environ.get("TERM") == "dumb" and "TERM=dumb"
        colour = f"no colour, by {plain}" if plain else "in colour"
        found = f"{shutil.get_terminal_size().columns} columns, {encoding}, {colour}"
    if not has_blocks(encoding):
        advice = "choose a UTF-8 locale, such as LANG=C.UTF-8, or set PYTHONUTF8=1"
        return warn(name, f"{found}; pictures are drawn in ASCII", advice)
    return ok(name, found)
