"""The first steps of a run, trained once more to see whether they give the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import torch

from digitnet.config import TrainConfig
from digitnet.data.digits import Digits
from digitnet.data.load import add_strokes, load_nondigits
from digitnet.engine import fit
from digitnet.errors import NotFiniteError
from digitnet.models import place
from digitnet.progress import Result, StateResult
from digitnet.snapshots import Snapshot
from digitnet.state import TrainingState
from digitnet.trainer import HASHED_STEPS
from digitnet.training import new_model


def retrain_first_steps(
    snapshot: Snapshot, train: Digits, validation: Digits, device: torch.device, dtype: torch.dtype
) -> tuple[str, ...]:
    """Train the first steps of a run once more, from the same beginning, at the rates that they had, and save nothing.

    Args:
        snapshot: A state of the run.
        train: The training digits that it began with.
        validation: The validation digits.
        device: What it ran on.
        dtype: What its matrix products ran in.

    Returns:
        Hashes of the weights after ``HASHED_STEPS``, as many as the state has; fewer where numbers go wrong.
    """
    position, rule = snapshot.state.position, _rule_of_then(snapshot)
    digits = add_strokes(train, rule.extra_strokes).to(device)
    nondigits = load_nondigits(train, rule.nondigits).to(device) if rule.nondigits else None
    model = place(new_model(snapshot.config, train), device)

    def run(due: Callable[[int], bool], resume: TrainingState | None = None) -> Iterator[Result]:
        return fit(model, digits, validation.to(device), rule, dtype, nondigits, resume=resume, save_due=due)

    beginning = next(run(lambda _: False))  # before the first step
    assert isinstance(beginning, StateResult)
    # Where training went back, the steps after that were made at half the rate, and so they are here.
    resume = replace(beginning.state, position=replace(beginning.state.position, rollbacks=position.rollbacks))
    last = HASHED_STEPS[len(position.hashes) - 1]
    hashes: tuple[str, ...] = ()
    with suppress(NotFiniteError):
        for result in run(lambda step: step in HASHED_STEPS, resume):
            if isinstance(result, StateResult):
                hashes = result.state.position.hashes
                if result.state.position.step >= last:
                    break
    return hashes


def _rule_of_then(snapshot: Snapshot) -> TrainConfig:
    """Return the rule of the first steps: by the length that the run began with, and without what ends it sooner."""
    return replace(
        snapshot.config.train,
        epochs=None,
        steps=snapshot.state.position.planned,
        patience=None,
        until_accuracy=None,
        time_budget_s=None,
    )
