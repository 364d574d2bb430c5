"""Data that one process of each machine makes and all of its processes map: in memory once, however many they are."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from digitnet.data.digits import Digits
from digitnet.distributed import WORKING, World
from digitnet.errors import DigitnetError

Tensors = dict[str, Tensor]
TENSORS = "tensors.safetensors"


def once(world: World, make: Callable[[], Tensors]) -> Tensors:
    """Make tensors in the first process of each machine, and return them in all.

    Raises:
        LaunchError: One could not make them; raised in all processes alike.
    """
    if world.size == 1:
        return make()
    makers = [rank for rank, local in enumerate(world.gather(world.launch.local_rank)) if local == 0]
    folder = Path(tempfile.mkdtemp(prefix="digitnet-")) if world.rank in makers else None
    try:
        fault = _try_to_write(make, folder / TENSORS) if folder else None
        _wait_for(makers, world)
        world.agree({}, "data", fault)
        # Launchers number a machine's processes one after the other.
        place = world.gather(folder)[world.rank - world.launch.local_rank]
        assert place is not None
        tensors = _map(place / TENSORS)
        world.barrier()  # all have mapped it, and what is mapped stays until nobody maps it
        return tensors
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def load_once(world: World, load: Callable[[], tuple[Digits, Digits]]) -> tuple[Digits, Digits]:
    """Load training and validation digits in the first process of each machine, and return them in all.

    Raises:
        LaunchError: One could not load them, or the machines have different ones; raised in all processes alike.
    """
    if world.size == 1:
        return load()
    loaded: tuple[Digits, ...] = ()

    def make() -> Tensors:
        nonlocal loaded
        loaded = load()
        if loaded[0].mapped:  # each process maps the files that the first has made
            return {}
        return {f"{n}.{k}": t for n, d in enumerate(loaded) for k, t in (("images", d.images), ("targets", d.targets))}

    tensors = once(world, make)
    bare = [replace(digits, images=torch.empty(0), targets=torch.empty(0), announce=None) for digits in loaded]
    described = world.gather(bare)[world.rank - world.launch.local_rank]
    if tensors:
        loaded = tuple(
            replace(digits, images=tensors[f"{number}.images"], targets=tensors[f"{number}.targets"])
            for number, digits in enumerate(described)
        )
    train, validation = loaded or load()
    world.agree(
        {"set": train.name, "fingerprint": train.fingerprint, "split": train.split_hash, "images": len(train)}, "data"
    )
    return train, validation


def _try_to_write(make: Callable[[], Tensors], path: Path) -> str | None:
    """Make tensors, and write them into a file; return what went wrong, for all to know."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: tensor.contiguous() for name, tensor in make().items()}, path)
    except (DigitnetError, OSError, SafetensorError) as error:
        return str(error)
    return None


def _wait_for(makers: list[int], world: World) -> None:
    """Wait until all makers are done: in the store, as whoever waits within a message gives up far sooner."""
    assert world.store is not None
    call = world.store.add(f"once/{world.rank}", 1)  # how often this was called, which is the same in all processes
    if world.rank in makers:
        world.store.set(f"made/{call}/{world.rank}", "")
    world.store.wait([f"made/{call}/{rank}" for rank in makers], WORKING)


def _map(path: Path) -> Tensors:
    from safetensors.torch import load_file

    return load_file(path)
