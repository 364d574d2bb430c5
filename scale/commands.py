"""The command lines that are measured and killed: digitnet alone, and in several processes by torchrun."""

from __future__ import annotations

import sys

CPU = ("--device", "cpu")


def alone(threads: int, *arguments: str) -> tuple[str, ...]:
    """Return the command line of digitnet in one process with so many threads."""
    return ("env", f"OMP_NUM_THREADS={threads}", sys.executable, "-m", "digitnet", *arguments)


def torchrun(processes: int, *arguments: str, restarts: int = 0) -> tuple[str, ...]:
    """Return that of digitnet in so many processes of one thread, which are started anew so often after a failure."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes))
    again = ("--max-restarts", str(restarts))
    return ("env", "OMP_NUM_THREADS=1", *launcher, *again, "-m", "digitnet", *arguments)
