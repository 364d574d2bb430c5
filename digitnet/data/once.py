"""Data that one process of each machine makes, and all of its processes map into memory: there once, however many."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from digitnet.data.digits import Digits
from digitnet.distributed import World
from digitnet.errors import DigitnetError

Tensors = dict[str, Tensor]


def once(world: World, make: Callable[[], Tensors]) -> Tensors:
    """Make tensors in the first process of each machine, and return them in all.

    Raises:
        LaunchError: One could not make them; raised in all processes alike.
    """
    if world.size == 1:
        return make()
    makes, fault, folder = world.launch.local_rank == 0, None, None
    if makes:
        try:
            folder = _write(make())
        except DigitnetError as error:
            fault = str(error)
    world.agree({}, "data", fault)
    try:
        # Launchers number a machine's processes one after the other.
        places = world.gather(folder)
        place = places[world.rank - world.launch.local_rank]
        assert place is not None
        return _map(place / "tensors.safetensors")
    finally:
        world.barrier()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # what is mapped stays until nobody maps it


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


def _write(tensors: Tensors) -> Path:
    from safetensors.torch import save_file

    folder = Path(tempfile.mkdtemp(prefix="digitnet-"))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "tensors.safetensors")
    return folder


def _map(path: Path) -> Tensors:
    from safetensors.torch import load_file

    return load_file(path)
