"""Whether a run folder is what it says: its files agree with each other, and its first steps come out as they did."""

from __future__ import annotations

import csv
import math
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from digitnet import __version__
from digitnet.checkpoint import Checkpoint, load_checkpoint
from digitnet.config import RunConfig
from digitnet.data.digits import Digits
from digitnet.data.load import load_training
from digitnet.device import choose_device, choose_precision, use_deterministic_algorithms
from digitnet.errors import CheckpointError, DigitnetError, UsageError
from digitnet.evaluation import evaluate
from digitnet.losses import build_loss
from digitnet.models import place
from digitnet.recipes import FREE, GROWING
from digitnet.retraining import retrain_first_steps
from digitnet.runs import BEST, CONFIG, LAST, METRICS, read_config
from digitnet.snapshots import Snapshot, find_states, load_newest, load_snapshot
from digitnet.state import hash_tensors
from digitnet.trainer import HASHED_STEPS

Verdict = Literal["ok", "differs", "warning", "unchecked"]
LOSS_TOLERANCE = 1e-5  # relative: another processor of the same kind rounds otherwise


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    """warning: it differs, which is no fault in itself, but may be why something else does."""
    expected: str
    """By the run's state."""
    found: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What came of looking at a run."""

    folder: Path
    step: int
    """Of its newest state."""
    checks: tuple[Check, ...]

    def named(self, verdict: Verdict) -> tuple[str, ...]:
        """Return the names of the checks with this verdict."""
        return tuple(check.name for check in self.checks if check.verdict == verdict)


def verify_run(folder: Path, *, data_dir: Path | None = None) -> Verification:
    """Check a run against its newest state, and train its first steps once more.

    Args:
        folder: The run folder; nothing in it is changed.
        data_dir: Where MNIST's files are, as for ``load_training``.

    Raises:
        CheckpointError: It holds no state that can be read.
    """
    newest = load_newest(folder)
    if (snapshot := newest.snapshot) is None:
        raise CheckpointError("; ".join(newest.damaged) or f"{folder} holds no state of a run: nothing to compare with")
    checks = [_check("state files", "whole", "; ".join(newest.damaged) or "whole")]
    checks += _check_files(folder, snapshot)
    checks += _check_versions(snapshot)
    with _threads_of(snapshot):
        checks += _check_numbers(folder, snapshot, data_dir)
    return Verification(folder=folder, step=snapshot.state.position.step, checks=tuple(checks))


def _check(name: str, expected: object, found: object, *, otherwise: Verdict = "differs") -> Check:
    verdict: Verdict = "ok" if expected == found else otherwise
    return Check(name=name, verdict=verdict, expected=str(expected), found=str(found))


def _unchecked(name: str, expected: str, found: str) -> Check:
    return Check(name=name, verdict="unchecked", expected=expected, found=found)


# The files, which need no data and no training.


def _check_files(folder: Path, snapshot: Snapshot) -> Iterator[Check]:
    yield _check_config(folder / CONFIG, snapshot.config)
    if snapshot.state.position.epoch == 0 and not (folder / LAST).exists():
        return  # no epoch has ended yet
    yield _check_metrics(folder / METRICS, snapshot)
    for name in (LAST, BEST):
        try:
            checkpoint = load_checkpoint(folder / name)
        except CheckpointError as error:
            yield _check(name, "whole", str(error))
        else:
            yield from _check_checkpoint(name, checkpoint, folder, snapshot)


def _check_config(path: Path, expected: RunConfig) -> Check:
    try:
        found = read_config(path)
    except UsageError as error:
        return _check(CONFIG, "that of the state", str(error))
    # Longer than the state says: a run that was to go on so, and was ended before it had saved anything.
    otherwise: Verdict = "warning" if _as_long_as(found, expected) == expected else "differs"
    return _check(CONFIG, *_differing(expected, found), otherwise=otherwise)


def _as_long_as(config: RunConfig, other: RunConfig) -> RunConfig:
    """Return a configuration with what may change when a run goes on taken from another."""
    return replace(config, train=replace(config.train, **{n: getattr(other.train, n) for n in (*GROWING, *FREE)}))


def _differing(expected: RunConfig, found: RunConfig) -> tuple[str, str]:
    """Show where two configurations differ, in the words of each."""
    if expected.kind != found.kind:
        return expected.kind, found.kind
    pairs = [
        (name, value, getattr(other, name))
        for one, other in ((expected.model, found.model), (expected.train, found.train))
        for name, value in vars(one).items()
        if value != getattr(other, name)
    ]
    if not pairs:
        return "the same", "the same"
    ours, theirs = (", ".join(f"{pair[0]} {pair[side]}" for pair in pairs) for side in (1, 2))
    return ours, theirs


def _check_metrics(path: Path, snapshot: Snapshot) -> Check:
    expected = [{name: str(value) for name, value in row.items()} for row in snapshot.journal.metrics()]
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            found = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error) as error:
        return _check(METRICS, f"{len(expected)} epochs", str(error))
    for index, row in enumerate(expected):
        if index >= len(found) or found[index] != row:
            theirs = found[index] if index < len(found) else {}
            name = next((name for name in row if theirs.get(name) != row[name]), "columns")
            shown = [f"epoch {index + 1}: {name} {values.get(name, 'missing')}" for values in (row, theirs)]
            return _check(METRICS, *shown)
    # One epoch more than the state knows of: the run was ended between the two.
    count = len(expected) if len(found) == len(expected) + 1 else len(found)
    return _check(METRICS, f"{len(expected)} epochs as in the state", f"{count} epochs as in the state")


def _check_checkpoint(name: str, checkpoint: Checkpoint, folder: Path, snapshot: Snapshot) -> Iterator[Check]:
    record = checkpoint.record
    made = _differing(snapshot.config, _as_long_as(checkpoint.config, snapshot.config))
    data = [f"data {o.fingerprint}, split {o.split_hash}, {o.train_size:,} images" for o in (snapshot.origin, record)]
    yield _check(f"{name}: made by", *(f"{one}, of {other}" for one, other in zip(made, data, strict=True)))
    rows = [row for row in snapshot.journal.epochs if name == LAST or row.best]
    if rows and record.epoch <= snapshot.state.position.epoch:
        yield _check(f"{name}: epoch", rows[-1].epoch, record.epoch)
    for path in find_states(folder):
        with suppress(CheckpointError):
            state = load_snapshot(path).state
            if state.position.step == record.step:
                model = {k.removeprefix("model."): v for k, v in state.tensors.items() if k.startswith("model.")}
                hashes = [hash_tensors(dict(sorted(weights.items()))) for weights in (model, checkpoint.state)]
                yield _check(f"{name}: weights", *hashes)
                return


def _check_versions(snapshot: Snapshot) -> Iterator[Check]:
    here = {"python": platform.python_version(), "torch": torch.__version__, "digitnet": __version__}
    for name, version in here.items():
        yield _check(f"version of {name}", getattr(snapshot.origin, name), version, otherwise="warning")


# The numbers, which are computed once more.


@contextmanager
def _threads_of(snapshot: Snapshot) -> Iterator[None]:
    before, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(snapshot.origin.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        use_deterministic_algorithms(deterministic)


def _check_numbers(folder: Path, snapshot: Snapshot, data_dir: Path | None) -> Iterator[Check]:
    origin, rule = snapshot.origin, snapshot.config.train
    yield _check("device", origin.device if rule.device == "auto" else rule.device, origin.device)
    yield _check("precision", origin.precision if rule.precision == "auto" else rule.precision, origin.precision)
    try:
        train, validation = load_training(rule.dataset, data_dir=data_dir, size=rule.train_size)
    except DigitnetError as error:
        yield _unchecked("data", f"{origin.dataset} ({origin.fingerprint})", str(error))
        return
    data = [
        _check("data", origin.fingerprint, train.fingerprint),
        _check("validation split", origin.split_hash, train.split_hash or ""),
        _check("training images", origin.train_size, len(train)),
    ]
    yield from data
    if any(check.verdict == "differs" for check in data):
        yield _unchecked("first steps", "the same data", "other data")
        return
    try:
        device = choose_device(origin.device)
    except UsageError as error:
        yield _unchecked("first steps", f"a {origin.device} device", str(error))
        return
    dtype = choose_precision(origin.precision, device)
    use_deterministic_algorithms(rule.deterministic)
    for name in (LAST, BEST):
        with suppress(CheckpointError):  # which has been said
            yield _check_accuracy(name, load_checkpoint(folder / name), validation.to(device), dtype)
    yield from _check_first_steps(snapshot, train, validation, device, dtype)


def _check_accuracy(name: str, checkpoint: Checkpoint, validation: Digits, dtype: torch.dtype) -> Check:
    record = checkpoint.record
    model = place(checkpoint.build(), validation.images.device)
    metrics = evaluate(model, validation, build_loss(checkpoint.config.train.loss), dtype)
    expected = f"{round(record.validation_accuracy * record.validation_size)} of {record.validation_size} right"
    found = f"{metrics.correct} of {metrics.count} right"
    if not math.isclose(metrics.loss, record.validation_loss, rel_tol=LOSS_TOLERANCE):
        expected, found = f"{expected}, loss {record.validation_loss:.8g}", f"{found}, loss {metrics.loss:.8g}"
    return _check(f"{name}: validation", expected, found)


def _check_first_steps(
    snapshot: Snapshot, train: Digits, validation: Digits, device: torch.device, dtype: torch.dtype
) -> Iterator[Check]:
    """Train the first steps once more, from the same beginning and by the schedule of then."""
    expected, planned = snapshot.state.position.hashes, snapshot.state.position.planned
    if not expected:
        return
    if (processes := snapshot.origin.processes) > 1:
        yield _unchecked("first steps", f"{processes} processes, as it began", "one, which sums in another order")
        return
    if len(expected) > len(HASHED_STEPS) or planned < 1:
        yield _check("first steps", "as a run has them", f"{len(expected)} of {planned}")
        return
    found = retrain_first_steps(snapshot, train, validation, device, dtype)
    for step, mine, theirs in zip(HASHED_STEPS, expected, found, strict=False):
        if mine != theirs:
            yield _check("first steps", f"step {step}: weights {mine}", f"step {step}: weights {theirs}")
            return
    if len(found) < len(expected):
        last = HASHED_STEPS[len(found)]
        yield _check("first steps", f"step {last}: weights {expected[len(found)]}", "numbers that are not finite")
        return
    said = f"the same weights after {', '.join(map(str, HASHED_STEPS[: len(expected)]))}"
    yield _check("first steps", said, said)
