"""What digitnet saves: each kind of file in versions that can be told apart, and whether one is whole."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from digitnet.calibration import Calibration
from digitnet.checkpoint import TrainingRecord, load_checkpoint, save_checkpoint
from digitnet.config import RunConfig
from digitnet.data.cache import Parts, cached
from digitnet.data.digits import Digits
from digitnet.journal import Journal
from digitnet.models import DigitNet, build_model
from digitnet.optim import build_optimizer, optimizer_tensors
from digitnet.recipes import build_config
from digitnet.rejection import Thresholds
from digitnet.runs import BEST, CONFIG, METRICS, read_config, write_config, write_metrics
from digitnet.snapshots import Origin, Snapshot, load_newest, save_snapshot
from digitnet.state import Position, TrainingState


@dataclass(frozen=True)
class Save:
    """A kind of file, or of folder."""

    name: str
    write: Callable[[Path, int], None]
    """Save a version of it, from 1, in a folder."""
    read: Callable[[Path], int]
    """Return which version is there, 0 for none; an exception says that it is not whole."""
    file: str
    """What an error has to name."""
    before: int = 2
    """Versions that are saved before the one that fails."""
    may_do_without: bool = False
    """Whether it is done without what cannot be saved."""

    def may_go_on(self, call: str) -> bool:
        """Say whether a save may go on after a call has failed."""
        # How large a file's blocks are: Python asks, and does without. A folder that is read it closes without a look.
        return self.may_do_without or call in ("fstat", "newfstatat", "lseek", "close")


@cache
def _config() -> RunConfig:
    settings = {"hidden_sizes": (8,), "dataset": "strokes", "weight_average": 0.9}
    return build_config(kind="mlp", preset="fast", overrides=settings)


def _model(version: int) -> DigitNet:
    model = build_model(_config().model)
    for tensor in model.state_dict().values():
        tensor.fill_(version)
    return model


def _write_state(folder: Path, version: int) -> None:
    origin = Origin(
        dataset="strokes",
        fingerprint="",
        train_size=1,
        split_hash="",
        device="cpu",
        precision="fp32",
        threads=1,
        processes=1,
        python="",
        torch="",
        digitnet="",
    )
    network = _model(version).state_dict()
    tensors = {f"{part}.{name}": tensor.clone() for part in ("model", "trained") for name, tensor in network.items()}
    tensors |= {f"optimizer.{name}": tensor.fill_(version) for name, tensor in _remembered().items()}
    tensors |= {f"random.{name}": torch.full((16,), version, dtype=torch.uint8) for name in ("augment", "dropout")}
    tensors |= {"sum.loss": torch.tensor(float(version)), "sum.correct": torch.tensor(version)}
    state = TrainingState(position=Position(step=version), tensors=tensors)
    save_snapshot(folder, Snapshot(config=_config(), origin=origin, journal=Journal(), state=state))


def _remembered() -> dict[str, torch.Tensor]:
    optimizer = build_optimizer(_model(0), _config().train)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.tensor(0.0),
                "exp_avg": torch.empty_like(parameter),
                "exp_avg_sq": torch.empty_like(parameter),
            }
    return optimizer_tensors(optimizer)


def _read_state(folder: Path) -> int:
    newest = load_newest(folder)
    assert not newest.damaged, newest.damaged
    assert newest.snapshot, "there is no state"
    state = newest.snapshot.state
    assert all(bool((tensor == state.position.step).all()) for tensor in state.tensors.values()), "mixed versions"
    return state.position.step


def _write_checkpoint(folder: Path, version: int) -> None:
    record = TrainingRecord(
        dataset="strokes",
        fingerprint="",
        train_size=1,
        validation_size=1,
        split_hash="",
        epoch=1,
        step=version,
        validation_loss=0.0,
        validation_accuracy=0.0,
        elapsed_s=0.0,
        device="cpu",
        precision="fp32",
        digitnet="",
        torch="",
    )
    calibration = Calibration(temperature=1.0, thresholds=Thresholds(rates=(0.0, 1.0), scores=(0.0, 1.0)))
    save_checkpoint(folder / BEST, _config(), record, calibration, _model(version))


def _read_checkpoint(folder: Path) -> int:
    checkpoint = load_checkpoint(folder / BEST)
    step = checkpoint.record.step
    assert all(bool((tensor == step).all()) for tensor in checkpoint.state.values()), "mixed versions"
    return step


def _write_metrics(folder: Path, version: int) -> None:
    write_metrics(folder, [{"epoch": version, "validation_loss": float(version)}] * 3)


def _read_metrics(folder: Path) -> int:
    with (folder / METRICS).open(newline="") as stream:
        epochs = {int(row["epoch"]) for row in csv.DictReader(stream)}
    (version,) = epochs
    return version


def _write_config(folder: Path, version: int) -> None:
    write_config(folder, replace(_config(), train=replace(_config().train, seed=version)))


def _read_config(folder: Path) -> int:
    return read_config(folder / CONFIG).train.seed


def _write_cache(folder: Path, version: int) -> None:
    """Load digits through the cache, which has to give them whether or not it can keep them."""
    images = torch.full((50, 1, 28, 28), version, dtype=torch.uint8)
    digits = Digits(name="set", images=images, targets=torch.zeros(50, dtype=torch.int64), fingerprint=str(version))
    parts: Parts = {"train": digits, "test": digits}
    with _cache_in(folder):
        found = cached("set", "train", lambda: parts)
    assert bool((found.images == version).all()), "other digits came of the cache"


class _NothingThereError(Exception):
    """Whoever looks into the cache would have to build the set."""


def _read_cache(folder: Path) -> int:
    def build() -> Parts:
        raise _NothingThereError

    try:
        with _cache_in(folder):
            digits = cached("set", "train", build)
    except _NothingThereError:
        return 0
    version = int(digits.images[0, 0, 0, 0])
    assert bool((digits.images == version).all()), "mixed versions"
    assert digits.fingerprint == str(version), "mixed versions"
    return version


@contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    before = os.environ.get("DIGITNET_CACHE_DIR")
    os.environ["DIGITNET_CACHE_DIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("DIGITNET_CACHE_DIR")
        if before is not None:
            os.environ["DIGITNET_CACHE_DIR"] = before


SAVES = {
    save.name: save
    for save in (
        Save("state", _write_state, _read_state, "state-0000"),
        Save("checkpoint", _write_checkpoint, _read_checkpoint, BEST),
        Save("metrics", _write_metrics, _read_metrics, METRICS),
        Save("config", _write_config, _read_config, CONFIG),
        Save("cache", _write_cache, _read_cache, "", before=0, may_do_without=True),
    )
}
