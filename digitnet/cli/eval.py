"""``digitnet eval``: how well a network reads a labelled set. The only command that reads a test set."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from digitnet.cli.options import CheckpointOption, DataDirOption, DeviceOption, choices, parse_share, print_json
from digitnet.errors import DataError, ThresholdError

if TYPE_CHECKING:
    from digitnet.checkpoint import TrainingRecord
    from digitnet.data.digits import Digits

SplitName = Literal["test", "validation", "train"]


def evaluate(
    checkpoint: CheckpointOption = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR",
            help="mnist, strokes, or a folder with sub-folders 0 to 9 or IDX files. "
            "Left out: what the network was trained on.",
            rich_help_panel="Data",
        ),
    ] = None,
    split: Annotated[
        SplitName | None,
        typer.Option(
            metavar="NAME",
            help=f"{choices(SplitName)}. Left out: test; of a folder that the network was trained on, validation.",
            rich_help_panel="Data",
        ),
    ] = None,
    data_dir: DataDirOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    min_accuracy: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="End with exit code 4 below this accuracy: 0.99 or 99%."),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Measure loss and accuracy, per digit too, with the confusion matrix, and whether it is as sure as it is right."""
    least = parse_share(min_accuracy, "--min-accuracy") if min_accuracy is not None else None

    from digitnet import console, reports
    from digitnet.device import choose_device, keep_freed_memory
    from digitnet.evaluation import assess, count, logits_of
    from digitnet.losses import build_loss
    from digitnet.predictor import Classifier

    keep_freed_memory()
    classifier = Classifier.load(checkpoint, choose_device(device))
    console.note_checkpoint(classifier)
    record = classifier.checkpoint.record
    digits, part = _load(dataset or record.dataset, split, data_dir, record)
    loss_fn = build_loss(classifier.checkpoint.config.train.loss)
    digits = digits.to(classifier.device)
    started = time.perf_counter()
    logits = logits_of(classifier.model, digits.images)
    metrics = count(logits, digits.targets, loss_fn)
    elapsed_s = time.perf_counter() - started
    sureness = assess(logits, digits.targets, classifier.checkpoint.calibration)
    if json_:
        print_json(reports.evaluation_report(classifier, digits, part, metrics, sureness, elapsed_s))
    else:
        console.print_evaluation(classifier, digits, part, metrics, sureness, elapsed_s)
    if least is not None and metrics.accuracy < least:
        raise ThresholdError(f"the accuracy is {metrics.accuracy:.2%}, and --min-accuracy asks for {least:.2%}")


def _load(
    dataset: str, split: SplitName | None, data_dir: Path | None, record: TrainingRecord
) -> tuple[Digits, SplitName]:
    """Load what is asked for; of a set that trained the network and has no test part, only what was kept from it."""
    from digitnet.console import note
    from digitnet.data.load import has_test_part, load_digits, load_training

    own = dataset == record.dataset
    if split in (None, "test"):
        if not own or has_test_part(dataset):
            digits = load_digits(dataset, "test", data_dir=data_dir)
            own = digits.fingerprint == record.fingerprint  # the same pictures by another path
            if not own:
                return digits, "test"
        note("These pictures trained this network: only those kept for validation are counted.")
        split = "validation"
    train, validation = load_training(dataset, data_dir=data_dir, size=record.train_size if own else None)
    if own and (train.fingerprint, train.split_hash) != (record.fingerprint, record.split_hash):
        raise DataError(
            f"{dataset} is not as it was when it trained this network, so what was kept from training is not known; "
            "evaluate on pictures that the network has not seen"
        )
    return (validation, "validation") if split == "validation" else (train, "train")
