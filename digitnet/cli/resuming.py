"""From ``digitnet train --resume`` to the run that goes on, and to its configuration."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitnet.cli.configuration import AUTO, configure, read_overrides
from digitnet.config import RunConfig
from digitnet.errors import CheckpointError, UsageError
from digitnet.recipes import resumed_config

if TYPE_CHECKING:
    from digitnet.snapshots import Snapshot


def find_resumable(reference: str, output: Path, name: str | None) -> Path | None:
    """Find the folder of the run to go on with.

    Args:
        reference: A run folder or the name of a run; auto is the run of that ``name``, else the newest not ended.
        output: The folder of runs.
        name: The run's name, for auto alone.

    Returns:
        None where auto finds none: a run begins.

    Raises:
        UsageError: A run is named twice.
        CheckpointError: The run that is named is not there.
    """
    from digitnet.runs import check_run_name, find_run
    from digitnet.snapshots import find_states

    check_run_name(name)
    if reference != AUTO:
        if name is not None:
            raise UsageError(f"--resume {reference} and --name {name} both name the run; leave out --name")
        folder = find_run(reference, output)
        if not find_states(folder):
            raise CheckpointError(f"{folder} holds no state to go on from{anew(folder)}")
        return folder
    if name is not None:
        folder = output / name
        return folder if folder.is_dir() and find_states(folder) else None
    return _newest_unfinished(output)


def _newest_unfinished(output: Path) -> Path | None:
    from digitnet.snapshots import find_states, load_newest

    folders = [path for path in output.iterdir() if path.is_dir()] if output.is_dir() else []
    states = {folder: states[-1].stat().st_mtime_ns for folder in folders if (states := find_states(folder))}
    for folder in sorted(states, key=lambda folder: states[folder], reverse=True):
        newest = load_newest(folder).snapshot
        if newest and newest.state.position.stop is None:
            return folder
    return None


def anew(folder: Path) -> str:
    """Say how a run without a state is trained anew, where there is what it was made of; else nothing."""
    from digitnet.runs import CONFIG

    path = folder / CONFIG
    return f"; to train it anew: digitnet train --config {shlex.quote(str(path))}" if path.is_file() else ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Resumed:
    """A run that goes on, or has ended."""

    snapshot: Snapshot
    """With the configuration that it goes on by."""
    ended: bool
    """Whether nothing is left to do."""


def load_resumed(folder: Path, params: dict[str, Any]) -> Resumed:
    """Load the newest state of a run, and put over its configuration what was typed.

    Raises:
        CheckpointError: No state can be read.
        UsageError: What was typed contradicts the run.
    """
    from digitnet.console.notes import note
    from digitnet.snapshots import load_newest

    if params["learning_rate"] == AUTO and params["resume"] != AUTO:
        raise UsageError("--learning-rate auto finds a rate for a run that begins; leave it out")
    newest = load_newest(folder)
    if (snapshot := newest.snapshot) is None:
        raise CheckpointError(f"{folder} cannot go on: {'; '.join(newest.damaged)}{anew(folder)}")
    try:
        config = resumed_config(snapshot.config, _typed(snapshot, params))
    except (ValueError, UsageError) as error:
        raise UsageError(f"run {folder}: {error}") from error
    for fault in newest.damaged:
        note(f"{fault}.\nGoing on from the state before it, after step {snapshot.state.position.step:,}.")
    return Resumed(ended=_has_ended(snapshot, config), snapshot=replace(snapshot, config=config))


def _typed(snapshot: Snapshot, params: dict[str, Any]) -> dict[str, Any]:
    """Return what was typed, by field name; where a recipe was named, all of it, so that a command can be repeated."""
    typed = read_overrides(params)
    if any(params[name] is not None for name in ("model", "preset", "config")):
        wanted = configure(params)
        if wanted.kind != snapshot.config.kind:
            raise UsageError(f"a run goes on as it began: its network is of kind {snapshot.config.kind}")
        named = {"dataset"}  # which was typed, or else fell back; and likewise what was settled as the run began
        named |= {"learning_rate"} if params["learning_rate"] == AUTO else set()
        named |= {"shuffle_window"} if wanted.train.shuffle_window is None else set()
        typed |= {k: v for part in (wanted.model, wanted.train) for k, v in vars(part).items() if k not in named}
    for name, ran_on in (("device", snapshot.origin.device), ("precision", snapshot.origin.precision)):
        if typed.get(name) == ran_on:  # what auto came to
            del typed[name]
    return typed


def _has_ended(snapshot: Snapshot, config: RunConfig) -> bool:
    """Say whether what ended the run still does, by the configuration that it would go on by."""
    position, before, now = snapshot.state.position, snapshot.config.train, config.train
    all_done = position.epoch >= now.epochs if now.epochs is not None else position.step >= (now.steps or 0)
    match position.stop:
        case None:
            return False
        case "epochs":
            return all_done
        case "time-budget":
            return all_done or (now.time_budget_s is not None and now.time_budget_s <= position.elapsed_s)
        case "until-accuracy":
            return all_done or now.until_accuracy == before.until_accuracy
        case "patience":
            return True


def how_to_go_further(snapshot: Snapshot) -> str:
    """Say what a run that has ended would go on for."""
    match snapshot.state.position.stop:
        case "patience":
            return "its --patience is at an end, and cannot change"
        case "time-budget":
            option = "--time-budget"
        case "until-accuracy":
            option = "--until-accuracy"
        case _:
            option = "--epochs" if snapshot.config.train.epochs is not None else "--steps"
    return f"to train it further, ask for more by {option}"
