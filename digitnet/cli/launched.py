"""What ``digitnet train`` does where several processes were launched to share its work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitnet.cli.configuration import AUTO

if TYPE_CHECKING:
    from digitnet.distributed import World

RUN = "run"  # the key of the run, in what the launcher keeps
OWN = ("data_dir",)  # what may differ from machine to machine


def settings_of(params: dict[str, Any]) -> dict[str, str]:
    """Return what was typed, which has to be the same in all processes."""
    return {name: str(value) for name, value in params.items() if name not in OWN}


def remember_run(world: World, settings: dict[str, str], folder: Path) -> None:
    """Let the launcher keep which run this is, for the processes that it starts anew after a failure."""
    if world.kept is not None:
        run = {"settings": settings, "output": str(folder.parent), "name": folder.name}
        world.kept.set(RUN, json.dumps(run))


def recall_run(world: World, params: dict[str, Any]) -> dict[str, Any]:
    """Return what was typed, so that it goes on with the run that the same command began before it was started anew."""
    kept = world.kept
    before = json.loads(kept.get(RUN)) if kept is not None and kept.check([RUN]) else None
    if (run := world.broadcast(before)) is None or run["settings"] != settings_of(params):
        return params
    return {**params, "resume": AUTO, "output": Path(run["output"]), "name": run["name"]}
