"""The state files of a run folder: all that ``train --resume`` needs. Data, never code, like a checkpoint.

Each is a safetensors file with the step in its name. The last two are kept, so that one is whole whatever happens to
the other. What a state consists of is said in ``state.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from digitnet import container
from digitnet.atomic import write_atomically
from digitnet.checkpoint import DTYPES
from digitnet.config import DeviceName, PrecisionName, RunConfig
from digitnet.container import check_container, unique_names
from digitnet.errors import CheckpointError, brief
from digitnet.journal import Journal
from digitnet.models import build_model
from digitnet.optim import build_optimizer, remembered_names
from digitnet.state import Position, TrainingState, hash_tensors
from digitnet.values import read_dataclass

FORMAT = 1
KEPT = 2
STATE_NAME = re.compile(r"state-(\d{6,})\.safetensors")
MAX_DOCUMENT_BYTES = 100_000_000
MAX_BYTES = 4 * container.MAX_BYTES + 2 * MAX_DOCUMENT_BYTES  # weights, their mean, and two numbers to remember of each
MAX_RANDOM_BYTES = 10_000  # of a random generator's state: 5,056 on the CPU, 16 on a GPU
DOCUMENT = "document"
RANDOM = ("random.augment", "random.dropout")

Kind = tuple[tuple[int, ...], str]  # a tensor's shape, and its type as safetensors calls it


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a training draws on beside its configuration: the same of it gives the same weights."""

    dataset: str
    fingerprint: str
    """Of the whole training part, validation images included."""
    train_size: int
    split_hash: str
    """Of the indices of the validation images."""
    device: DeviceName
    precision: PrecisionName
    threads: int
    """That a CPU computes with: how sums are split over them shows in their last bits."""
    processes: int
    """That share the work: likewise."""
    python: str
    torch: str
    digitnet: str
    """The versions that it began with; each checkpoint says which made it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A run at one moment."""

    config: RunConfig
    origin: Origin
    journal: Journal
    state: TrainingState


@dataclass(frozen=True, kw_only=True, eq=False)
class Newest:
    """The newest state of a run that can be read."""

    snapshot: Snapshot | None
    """None where there is none."""
    damaged: tuple[str, ...] = ()
    """What is wrong with newer ones, a line each."""


def save_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Write a state into a run folder, and then remove all but the newest two.

    Raises:
        OSError: It could not be written; the states before it are still there.
    """
    document = {
        "config": snapshot.config.to_dict(),
        "origin": asdict(snapshot.origin),
        "journal": snapshot.journal.to_dict(),
        "position": asdict(snapshot.state.position),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in snapshot.state.tensors.items()}
    tensors[DOCUMENT] = torch.frombuffer(bytearray(json.dumps(document).encode()), dtype=torch.uint8)
    stamp = {"format": FORMAT, "hash": hash_tensors(dict(sorted(tensors.items())))}
    path = folder / f"state-{snapshot.state.position.step:06}.safetensors"
    write_atomically(path, save(tensors, metadata={"digitnet_state": json.dumps(stamp)}))
    for old in find_states(folder)[:-KEPT]:
        old.unlink(missing_ok=True)


def find_states(folder: Path) -> list[Path]:
    """List the state files of a run folder, oldest first."""
    numbered = {int(name[1]): path for path in folder.iterdir() if (name := STATE_NAME.fullmatch(path.name))}
    return [path for _, path in sorted(numbered.items())]


def load_newest(folder: Path) -> Newest:
    """Load the newest state of a run folder that is whole."""
    damaged: list[str] = []
    for path in reversed(find_states(folder)):
        try:
            return Newest(snapshot=load_snapshot(path), damaged=tuple(damaged))
        except CheckpointError as error:
            damaged.append(str(error))
    return Newest(snapshot=None, damaged=tuple(damaged))


def discard_after(folder: Path, step: int) -> None:
    """Remove states of later steps, which training is to make anew."""
    for path in find_states(folder):
        if (name := STATE_NAME.fullmatch(path.name)) and int(name[1]) > step:
            path.unlink()


def load_snapshot(path: Path) -> Snapshot:
    """Read a state file.

    Raises:
        CheckpointError: There is none, or it is damaged, or not one of digitnet's.
    """
    check_container(path, MAX_BYTES)
    try:
        with safe_open(path, framework="pt") as file:
            stamp = _read_stamp(path, (file.metadata() or {}).get("digitnet_state"))
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            kinds = {name: (tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
            values = _read_document(path, file, kinds.pop(DOCUMENT, ((0,), "U8")))
            config = RunConfig.from_dict(values["config"])
            position = read_dataclass(Position, values["position"])
            _check_kinds(path, config, position, kinds)
            tensors = {name: file.get_tensor(name) for name in sorted([*kinds, DOCUMENT])}
        if hash_tensors(tensors) != stamp:
            raise CheckpointError(f"{path}: damaged: its contents are not what was written")
        del tensors[DOCUMENT]
        return Snapshot(
            config=config,
            origin=read_dataclass(Origin, {"processes": 1, **values["origin"]}),  # older states had no more
            journal=Journal.from_dict(values["journal"]),
            state=TrainingState(position=position, tensors=tensors),
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged: {brief(error)}") from error


def _read_stamp(path: Path, text: str | None) -> str:
    if text is None:
        raise CheckpointError(f"{path} is a safetensors file, but no state of a run")
    stamp = json.loads(text)
    if type(stamp["format"]) is not int or stamp["format"] != FORMAT:
        raise CheckpointError(f"{path} has format {stamp['format']}, and this digitnet goes on from {FORMAT}")
    return str(stamp["hash"])


def _read_document(path: Path, file: Any, kind: Kind) -> dict[str, Any]:
    shape, dtype = kind
    if dtype != "U8" or len(shape) != 1 or not 0 < shape[0] <= MAX_DOCUMENT_BYTES:
        raise CheckpointError(f"{path}: damaged: it describes itself in {dtype} {shape}")
    values = json.loads(file.get_tensor(DOCUMENT).numpy().tobytes(), object_pairs_hook=unique_names)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: damaged: it does not describe itself")
    return values


def _check_kinds(path: Path, config: RunConfig, position: Position, found: Mapping[str, Kind]) -> None:
    """Compare the tensors in the file with those of the training that it describes, before either takes memory."""
    expected = _expected_kinds(config)
    for name in sorted(expected.keys() | found.keys()):
        mine, theirs = expected.get(name), found.get(name)
        if name in RANDOM:  # of a size that depends on the device
            fits = theirs is not None and theirs[1] == "U8" and len(theirs[0]) == 1 and theirs[0][0] <= MAX_RANDOM_BYTES
        elif position.step == 0 and name.startswith("optimizer."):  # some remember a beginning
            fits = mine is not None and theirs in (None, mine)
        else:
            fits = theirs == mine
        if not fits:
            raise CheckpointError(
                f"{path}: {brief(name)} does not fit the training described: expected {_shown(mine)}, "
                f"found {_shown(theirs)}"
            )


def _shown(kind: Kind | None) -> str:
    return f"{kind[1]} {kind[0]}" if kind else "nothing"


def _expected_kinds(config: RunConfig) -> dict[str, Kind]:
    with torch.device("meta"):
        model = build_model(config.model)
        network = {name: (tuple(tensor.shape), DTYPES[tensor.dtype]) for name, tensor in model.state_dict().items()}
    parts = ("model",) if config.train.weight_average is None else ("model", "trained")
    groups = build_optimizer(model, config.train).param_groups
    parameters = [tuple(parameter.shape) for group in groups for parameter in group["params"]]
    return {
        **{f"{part}.{name}": kind for part in parts for name, kind in network.items()},
        **{
            f"optimizer.{index}.{name}": (() if name == "step" else shape, "F32")
            for index, shape in enumerate(parameters)
            for name in remembered_names(config.train)
        },
        **dict.fromkeys(RANDOM, ((0,), "U8")),
        "sum.loss": ((), "F32"),
        "sum.correct": ((), "I64"),
    }
