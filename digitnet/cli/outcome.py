"""What came of a run: said on stdout, and drawn."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.cli.options import print_json
from digitnet.errors import CheckpointError, printable

if TYPE_CHECKING:
    from digitnet.checkpoint import Checkpoint
    from digitnet.snapshots import Snapshot


def sum_up(folder: Path, data_dir: Path | None, *, as_json: bool) -> None:
    """Say what came of a run that has ended.

    Args:
        folder: The run folder.
        data_dir: Where MNIST is, if that was typed, for the commands that are named.
        as_json: Print one JSON document.

    Raises:
        CheckpointError: The run is no longer as it has ended.
    """
    from digitnet import reports
    from digitnet.checkpoint import load_checkpoint
    from digitnet.console.networks import print_curves, print_run
    from digitnet.runs import BEST
    from digitnet.snapshots import load_newest

    last, best = load_newest(folder).snapshot, load_checkpoint(folder / BEST)
    ending = last.journal.ending(last.state.position) if last else None
    if last is None or ending is None:  # the folder is free again
        raise CheckpointError(f"{folder} has ended, and another process goes on with it or its state is damaged since")
    if as_json:
        print_json(reports.run_report(folder, best, ending, last.origin.processes, _draw_curves(folder, best, last)))
    else:
        print_run(folder, best, ending, data_dir)
        print_curves(_draw_curves(folder, best, last))  # after all else, for it takes half a second


def _draw_curves(folder: Path, best: Checkpoint, last: Snapshot) -> Path | None:
    """Draw how training went, where there is matplotlib; return the file."""
    from digitnet.explain.training.curves import draw_curves, gather_curves
    from digitnet.runs import CURVES, METRICS

    if find_spec("matplotlib") is None:
        return None
    rule, record = last.config.train, best.record
    source = (
        f"{METRICS} of run {printable(folder.name)}, and the loss within epochs: {best.config.kind}, {rule.loss}, "
        f"{rule.optimizer}; {record.train_size:,} images of {printable(record.dataset)}, "
        f"{record.validation_size:,} for validation"
    )
    steps_per_epoch = -(-(record.train_size + rule.extra_strokes) // rule.batch_size)
    draw_curves(gather_curves(last.journal, steps_per_epoch), folder / CURVES, source)
    return folder / CURVES
