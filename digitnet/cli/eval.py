"""``digitnet eval``: how well a network reads a labelled set. The only command that reads a test set."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from digitnet.cli.options import (
    CheckpointOption,
    DataDirOption,
    DeviceOption,
    ReadingPrecisionOption,
    choices,
    parse_share,
    print_json,
)
from digitnet.errors import DataError, ThresholdError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from digitnet.checkpoint import TrainingRecord
    from digitnet.data.digits import Digits
    from digitnet.evaluation import Telling
    from digitnet.predictor import Classifier

SplitName = Literal["test", "validation", "train"]


def evaluate(
    checkpoint: CheckpointOption = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|DIR",
            help="mnist, strokes, or a folder with sub-folders 0 to 9, IDX files or tar shards. "
            "Left out: what the network was trained on. With --suite: a further set; give it again for more.",
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
    suite: Annotated[
        bool,
        typer.Option(
            "--suite",
            help="Read MNIST's test images, and shifted, rotated, scaled, blurred, noisy, thin and thick copies of "
            "these 28x28 images, past the preparation that predict does.",
            rich_help_panel="Data",
        ),
    ] = False,
    data_dir: DataDirOption = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Another checkpoint to read the same images: which of the two is better, and whether that may be "
            "chance, by McNemar's test.",
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    min_accuracy: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="End with exit code 4 below this accuracy: 0.99 or 99%. With --suite: below this mean of the copies.",
        ),
    ] = None,
    nondigits: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder of pictures that are no digits: how well are they told from the set's, and turned away?",
            rich_help_panel="Data",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Draw the confusion matrix, the reliability diagram and the worst errors into this folder, with a "
            "page that shows them in any browser.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    precision: ReadingPrecisionOption = "fp32",
) -> None:
    """Measure loss and accuracy, per digit too, with the confusion matrix, and whether it is as sure as it is right."""
    least = parse_share(min_accuracy, "--min-accuracy") if min_accuracy is not None else None

    datasets = dataset or []
    _check(suite, datasets, split, nondigits, report)

    from digitnet.console.notes import note_checkpoint
    from digitnet.device import choose_device, choose_precision, keep_freed_memory
    from digitnet.predictor import Classifier

    if report is not None:
        from digitnet.explain.evaluation.report import check_report_folder

        check_report_folder(report)  # said before anything is loaded, as is a missing matplotlib
    keep_freed_memory()
    place = choose_device(device)
    classifier = Classifier.load(checkpoint, place, choose_precision(precision, place))
    note_checkpoint(classifier)
    other = Classifier.load(against, classifier.device, classifier.dtype) if against is not None else None
    if other:
        note_checkpoint(other)
    if suite:
        _evaluate_suite(classifier, other, datasets, data_dir, json_, least)
        return
    own = classifier.checkpoint.record.dataset
    digits, part = _load_unseen(datasets[0] if datasets else own, split, data_dir, classifier, other)
    _evaluate_set(classifier, other, digits, part, nondigits, report, json_, least)


def _check(
    suite: bool, datasets: list[str], split: SplitName | None, nondigits: Path | None, report: Path | None
) -> None:
    for name, value in (("--nondigits", nondigits), ("--report", report)):
        if suite and value:
            raise UsageError(f"{name} is for one data set, not for --suite")
    if not suite and len(datasets) > 1:
        raise UsageError("several data sets are for --suite; without it, name one")
    if suite and split not in (None, "test"):
        raise UsageError(f"--suite reads what networks are tested on, not --split {split}")
    if suite and "mnist" in datasets:
        raise UsageError("mnist is in the suite; --dataset names what to read beside it")


def _evaluate_set(
    classifier: Classifier,
    other: Classifier | None,
    digits: Digits,
    part: SplitName,
    nondigits: Path | None,
    folder: Path | None,
    json_: bool,
    least: float | None,
) -> None:
    from digitnet import reports
    from digitnet.comparison import compare
    from digitnet.console.evaluations import print_comparison, print_evaluation, print_telling
    from digitnet.console.tables import print_pairs
    from digitnet.evaluation import assess, count
    from digitnet.losses import build_loss

    if folder:
        from digitnet.explain.evaluation.report import report_evaluation
    loss_fn = build_loss(classifier.checkpoint.config.train.loss)
    digits = digits.to(classifier.device)
    started = time.perf_counter()
    logits = classifier.logits(digits.images)
    metrics = count(logits, digits.targets, loss_fn)
    elapsed_s = time.perf_counter() - started
    sureness = assess(logits, digits.targets, classifier.checkpoint.calibration)
    comparison = compare(logits, other.logits(digits.images), digits.targets) if other else None
    telling = _tell(classifier, logits, nondigits) if nondigits else None
    page = report_evaluation(folder, classifier, digits, part, logits, metrics, sureness) if folder else None
    if json_:
        report = reports.evaluation_report(classifier, digits, part, metrics, sureness, elapsed_s)
        report["report"] = str(page) if page else None
        print_json(report | reports.telling_report(telling) | reports.comparison_report(other, comparison))
    else:
        print_evaluation(classifier, digits, part, metrics, sureness, elapsed_s)
        if telling:
            print_telling(telling)
        if other and comparison:
            print_comparison(other, comparison)
        if page:
            print_pairs(("report", str(page)))
    if least is not None and metrics.accuracy < least:
        raise ThresholdError(f"the accuracy is {metrics.accuracy:.2%}, and --min-accuracy asks for {least:.2%}")


def _tell(classifier: Classifier, digits: Tensor, folder: Path) -> Telling:
    """Compare the logits of digits, (N, 10), with those of a folder's pictures."""
    from digitnet.data.folder import load_unlabelled
    from digitnet.evaluation import tell

    images, objected = load_unlabelled(folder)
    others = classifier.logits(images)
    return tell(digits, others, objected.to(classifier.device), classifier.checkpoint.calibration)


def _evaluate_suite(
    classifier: Classifier,
    other: Classifier | None,
    datasets: list[str],
    data_dir: Path | None,
    json_: bool,
    least: float | None,
) -> None:
    from digitnet import reports
    from digitnet.console.evaluations import print_suite, print_suite_comparison
    from digitnet.data.load import load_digits
    from digitnet.losses import build_loss
    from digitnet.suite import mean_of_copies, suite_labels, suite_rows

    mnist = load_digits("mnist", "test", data_dir=data_dir)
    others = [_load_unseen(dataset, None, None, classifier, other) for dataset in datasets]
    loss_fn = build_loss(classifier.checkpoint.config.train.loss)
    rows = suite_rows(mnist, others, loss_fn, classifier.model, other.model if other else None, classifier.dtype)
    if json_:
        done = list(rows)
        print_json(reports.suite_report(classifier, other, done))
    else:
        done = print_suite(rows, suite_labels(others))
        if other:
            print_suite_comparison(other, done)
    mean, _ = mean_of_copies(done)
    if least is not None and mean < least:
        raise ThresholdError(f"the mean of the copies is {mean:.2%}, and --min-accuracy asks for {least:.2%}")


def _load_unseen(
    dataset: str, split: SplitName | None, data_dir: Path | None, classifier: Classifier, other: Classifier | None
) -> tuple[Digits, SplitName]:
    """Load what is asked for; of a set that trained either network and has no test part, only what both may see.

    The parts that ``_load`` finds for the two lie one within the other: all, those for training, or those kept.
    """
    found = _load(dataset, split, data_dir, classifier.checkpoint.record)
    if other is None:
        return found
    record = other.checkpoint.record
    if found[1] == "test" and record.fingerprint != found[0].fingerprint and record.dataset != dataset:
        return found  # the other was trained elsewhere, and a folder of pictures takes its time to read
    return min(found, _load(dataset, split, data_dir, record), key=lambda pair: len(pair[0]))


def _load(
    dataset: str, split: SplitName | None, data_dir: Path | None, record: TrainingRecord
) -> tuple[Digits, SplitName]:
    """Load what is asked for; of a set that trained the network and has no test part, only what was kept from it."""
    from digitnet.console.notes import note
    from digitnet.data.load import has_test_part, load_digits, load_training

    own = dataset == record.dataset
    if split in (None, "test"):
        if not own or has_test_part(dataset):
            digits = load_digits(dataset, "test", data_dir=data_dir)
            own = digits.fingerprint == record.fingerprint  # the same pictures by another path
            if not own:
                if record.adaptation and digits.fingerprint == record.adaptation.fingerprint:
                    note("The network was adapted to these very pictures: this is no measure of how it reads others.")
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
