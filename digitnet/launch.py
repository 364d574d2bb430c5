"""What a launcher such as torchrun tells a process in its environment. Standard library only: the command line asks."""

from __future__ import annotations

import os
from dataclasses import dataclass

from digitnet.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A process's place among those that were launched together; without a launcher, it is the only one."""

    rank: int = 0
    """Its number, from 0; the first speaks and saves for all."""
    size: int = 1
    """How many processes there are, on all machines."""
    local_rank: int = 0
    """Its number among those of its machine, and of its GPU."""
    local_size: int = 1
    restarts: int = 0
    """How often the launcher of this machine has started its processes anew, after one of them failed."""
    starts_anew: bool = False
    """Whether it would do so once more."""
    host: str | None = None
    """Where they meet; None where no launcher says so."""
    port: int = 0
    launcher_serves: bool = False
    """Whether the launcher itself serves the store in which they meet, and keeps it when it starts them anew."""

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and saves for all."""
        return self.rank == 0


def read_launch() -> Launch:
    """Read the environment.

    Raises:
        UsageError: What it tells is not whole, or makes no sense.

    Source: the documentation of torchrun, "Environment Variables".
    """
    if "RANK" in os.environ and "WORLD_SIZE" not in os.environ:
        raise UsageError("RANK is set in the environment, and WORLD_SIZE is not; torchrun sets both")
    size, rank = _number("WORLD_SIZE", 1), _number("RANK", 0)
    local_rank, local_size = _number("LOCAL_RANK", 0), _number("LOCAL_WORLD_SIZE", 1)
    if not (rank < size and local_rank < local_size <= size):
        raise UsageError(f"RANK {rank} and WORLD_SIZE {size} in the environment do not go together; torchrun sets both")
    found = Launch(
        rank=rank,
        size=size,
        local_rank=local_rank,
        local_size=local_size,
        restarts=(restarts := _number("TORCHELASTIC_RESTART_COUNT", 0)),
        starts_anew=restarts < _number("TORCHELASTIC_MAX_RESTARTS", 0),
        host=os.environ.get("MASTER_ADDR"),
        port=_number("MASTER_PORT", 0),
        launcher_serves=os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )
    if size > 1 and not (found.host and 0 < found.port < 65_536):
        raise UsageError(
            "the environment tells of a launch, but MASTER_ADDR and MASTER_PORT do not say where its processes meet; "
            "torchrun sets all of this"
        )
    return found


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise UsageError(f"{name} in the environment is to be a whole number, not {text!r}")
    return int(text)
