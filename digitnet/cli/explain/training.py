"""``digitnet explain training``: what a run had learnt after each epoch, on the same digits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from digitnet.cli.explain.options import AsciiOption, FiguresOption, JsonOption
from digitnet.cli.options import DataDirOption, print_json
from digitnet.errors import DataError, printable

if TYPE_CHECKING:
    from digitnet.checkpoint import Checkpoint
    from digitnet.data.digits import Digits
    from digitnet.explain.training.epochs import History


def training(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a run's name, of train --keep-epochs.")],
    data_dir: DataDirOption = None,
    ascii_: AsciiOption = False,
    output: FiguresOption = None,
    json_: JsonOption = False,
) -> None:
    """See kernels, feature maps and representations of the same digits after each epoch: what was learnt when.

    The run has to have been made by train --keep-epochs.
    """
    from digitnet.runs import find_epochs

    folder, files = find_epochs(run)

    from digitnet.checkpoint import load_checkpoint
    from digitnet.console.epochs import print_history
    from digitnet.console.notes import note_drawn
    from digitnet.explain.training.epochs import look_back
    from digitnet.training import new_model

    if output is not None:
        from digitnet.explain.training.strips import draw_strips  # which says at once that matplotlib is missing
    first = load_checkpoint(files[0])
    train, validation = _load(first, data_dir)
    before = new_model(first.config, train)
    history = look_back(before, map(load_checkpoint, files), validation, first.config.train.loss)
    if json_:
        print_json(_report(folder, history))
    else:
        print_history(history, str(folder), ascii_)
    if output is not None:
        note_drawn(draw_strips(history, output, f"run {printable(folder)}"))


def _load(first: Checkpoint, data_dir: Path | None) -> tuple[Digits, Digits]:
    """Load what the run was trained on, and what it was not.

    Raises:
        DataError: It is not what it was then.
    """
    from digitnet.data.load import load_training

    record = first.record
    train, validation = load_training(record.dataset, data_dir=data_dir, size=first.config.train.train_size)
    if (train.fingerprint, train.split_hash) != (record.fingerprint, record.split_hash):
        raise DataError(f"{record.dataset} is not as it was when it trained this run, so its epochs cannot be shown")
    return train, validation


def _report(folder: Path, history: History) -> dict[str, Any]:
    epochs = [
        {
            "epoch": s.epoch,
            "validation_loss": s.validation_loss,
            "validation_accuracy": s.validation_accuracy,
            "moved": s.moved,
            "nearest_mean": s.nearest_mean,
            "variance_in_plane": s.held,
            "probs": s.probs.tolist(),
        }
        for s in history.snapshots
    ]
    return {"run": str(folder), "first_layer": history.first, "hidden_layer": history.hidden, "epochs": epochs}
