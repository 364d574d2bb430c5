"""All checks in their order, one after the other, each with its own failure caught."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TextIO

from digitnet.doctor import files, machine, software
from digitnet.doctor.check import Check, fail, reason, warn

CHECKS: dict[str, Callable[[str], Check]] = {
    "python": software.check_python,
    "digitnet": software.check_digitnet,
    "packages": software.check_packages,
    "torch": software.check_torch,
    "torchvision": software.check_torchvision,
    "cpu": machine.check_cpu,
    "gpu": machine.check_gpu,
    "precision": machine.check_precision,
    "threads": machine.check_threads,
    "pretrained-cnn": files.check_network,
    "pretrained-mlp": files.check_network,
    "runs": files.check_runs,
    "mnist": files.check_mnist,
    "cache": files.check_cache,
    "write runs": files.check_runs_place,
    "write cache": files.check_cache_place,
    "write temporary": files.check_temporary_place,
    "extra plot": software.check_extra,
    "extra tb": software.check_extra,
}
# Of a PyTorch that is broken, each of these would say the same in other words.
NEED_TORCH = {
    "torchvision", "cpu", "gpu", "precision", "threads", "pretrained-cnn", "pretrained-mlp",
    "runs", "mnist", "cache", "write cache",
}  # fmt: skip


def examine(output: TextIO) -> Iterator[Check]:
    """Look at each thing in turn, and say at once what was found.

    Args:
        output: Where results are printed.
    """
    checks: dict[str, Callable[[str], Check]] = {**CHECKS, "terminal": partial(machine.check_terminal, output=output)}
    torch_works = True
    for name, look in checks.items():
        if not torch_works and name in NEED_TORCH:
            yield warn(name, "not looked at: it needs torch", "mend torch first")
            continue
        check = guarded(name, look)
        torch_works = torch_works and (name != "torch" or check.status != "failed")
        yield check


def guarded(name: str, look: Callable[[str], Check]) -> Check:
    """Look at one thing; what goes wrong in looking is what was found."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries, which what is found says in a line
            return look(name)
    except ImportError as error:
        return fail(name, f"cannot be looked at: {reason(error)}", "mend the packages that are named above first")
    except Exception as error:
        found = f"cannot be looked at: {type(error).__name__}: {reason(error)}"
        return fail(name, found, "mend what it names; else report it, with the output of digitnet doctor --json")
