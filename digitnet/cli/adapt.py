"""``digitnet adapt``: a few labelled pictures of one's own hand, and a network that reads it better, or no new one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from digitnet.cli.options import CheckpointOption, DataDirOption, DeviceOption, print_json
from digitnet.cli.run_folders import run_folder
from digitnet.config import TrainConfig
from digitnet.errors import CheckpointError, DataError, ThresholdError, UsageError, printable
from digitnet.recipes import ADAPT

if TYPE_CHECKING:
    import torch

    from digitnet.adapting import AdaptResult
    from digitnet.checkpoint import TrainingRecord
    from digitnet.data.digits import Digits
    from digitnet.predictor import Classifier


STROKES_SIZE = 20_000  # more than the fine-tune takes
MAX_STEPS = 10_000  # their images, half a gigabyte of them, are gathered beforehand


def adapt(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Folder of pictures, in sub-folders 0 to 9 or with names that begin with their digit: 7.jpg, 7-a.png.",
        ),
    ],
    checkpoint: CheckpointOption = None,
    data_dir: DataDirOption = None,
    steps: Annotated[
        int, typer.Option(min=1, max=MAX_STEPS, help="Updates of the fine-tune. Left out: 80.", show_default=False)
    ] = 80,
    learning_rate: Annotated[
        float, typer.Option(help="Size of an update, at the schedule's peak. Left out: 0.002.", show_default=False)
    ] = 2e-3,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of runs, in which the new network gets its own.")
    ] = Path("checkpoints"),
    name: Annotated[
        str | None, typer.Option(help="The run's name. Left out: its network, the pictures' folder and a number.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same weights, bit for bit on the CPU.")] = 0,
    device: DeviceOption = "auto",
) -> None:
    """Fine-tune a network on labelled pictures of one's own hand.

    The new network is kept only if it reads the hand better, which is told on pictures that were kept out, and the
    validation images of MNIST at most 0.1 points worse; else the exit code is 4, and there is no new network.
    """
    rule = _rule(steps, learning_rate, seed)

    from digitnet import reports
    from digitnet.adapting import AdaptResult, describe, save_adapted
    from digitnet.adapting import adapt as adapt_network
    from digitnet.console.networks import print_adaptation
    from digitnet.console.notes import adapting_view
    from digitnet.data.folder import class_pictures, pictures_in
    from digitnet.data.labelled import load_labelled
    from digitnet.device import choose_device, keep_freed_memory
    from digitnet.runs import BEST, check_run_name

    keep_freed_memory()
    place = choose_device(device)
    check_run_name(name)
    base = _load_base(checkpoint, place)
    own = load_labelled(folder)
    paths = [*(path for path, _ in class_pictures(folder)), *pictures_in(folder)]  # in the order of `own`
    _refuse_known(base, own)
    train, validation = _load_rehearsal(base.checkpoint.record, data_dir)
    stem = f"{base.checkpoint.config.kind}-{folder.resolve().name}"
    with run_folder(output, name, stem) as run:
        with adapting_view() as show:
            for result in adapt_network(base.checkpoint, own, train, validation, rule, place):
                show(result)
        assert isinstance(result, AdaptResult)  # the last one is
        adaptation = describe(result, base.path, own, train, rule)
        path = run / BEST if result.kept else None
        if path is not None:
            save_adapted(path, base.checkpoint, result, adaptation)
        if json_:
            print_json(reports.adaptation_report(path, adaptation, result, paths))
        else:
            print_adaptation(path, adaptation, result, paths)
        if not result.kept:  # the run folder goes again
            raise ThresholdError(_why_not(result, adaptation.rehearsal))


def _rule(steps: int, learning_rate: float, seed: int) -> TrainConfig:
    try:
        return TrainConfig(**ADAPT, steps=steps, learning_rate=learning_rate, seed=seed)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _load_base(reference: str | None, device: torch.device) -> Classifier:
    """Load the network to adapt; of one that was adapted already, the one that it was made of."""
    from digitnet.console.notes import note, note_checkpoint
    from digitnet.predictor import Classifier

    classifier = Classifier.load(reference, device)
    if adapted := classifier.checkpoint.record.adaptation:  # it may know the pictures, which then tell nothing
        name = classifier.name
        try:
            classifier = Classifier.load(adapted.source, device)
        except CheckpointError as error:
            fault = f"cannot be used ({error})" if Path(adapted.source).exists() else "is gone"
            raise CheckpointError(
                f"{name} was itself adapted, and {adapted.source}, from which to start again, {fault}; "
                "adapt another network, such as --checkpoint pretrained-cnn"
            ) from error
        note(printable(f"{name} was itself adapted to {adapted.dataset}: starting again from {adapted.source}."))
    note_checkpoint(classifier)
    return classifier


def _refuse_known(base: Classifier, own: Digits) -> None:
    """Refuse to learn what the network knows: no picture could show that it gained."""
    from digitnet.adapting import read

    if bool((read(base.model, own.images.to(base.device)).cpu() == own.targets).all()):
        raise ThresholdError(
            f"not adapted: the network reads all {len(own)} pictures right as it is; adapting is for what it misreads"
        )


def _load_rehearsal(record: TrainingRecord, data_dir: Path | None) -> tuple[Digits, Digits]:
    """Load what the network was trained on; strokes take the place of an MNIST that is not there."""
    from digitnet.console.notes import note
    from digitnet.data.load import load_training
    from digitnet.data.mnist import MnistMissingError

    try:
        train, validation = load_training(record.dataset, data_dir=data_dir, size=record.train_size)
    except MnistMissingError as error:
        note(f"{error}.\nRehearsing strokes instead, the digits that are built into digitnet, and validating on them.")
        return load_training("strokes", size=STROKES_SIZE)
    if (train.fingerprint, train.split_hash) != (record.fingerprint, record.split_hash):
        raise DataError(
            f"{record.dataset} is not as it was when it trained this network, so what was kept from training is not "
            "known; adapt another network, such as --checkpoint pretrained-cnn"
        )
    return train, validation


def _why_not(result: AdaptResult, dataset: str) -> str:
    from digitnet.adapting import SLACK

    advice = "more pictures, fewer --steps or a lower --learning-rate may help"
    if result.forgets:
        before, after = result.validation_before.accuracy, result.validation_after.accuracy
        fall = f"falls by {before - after:.2%}, more than {SLACK:.1%}"
        return f"not kept: the validation accuracy on {dataset} {fall}; {advice}"
    return (
        f"not kept: adapted without the picture that was to be read, networks read {result.after} of "
        f"{result.pictures} right, and as it was it read {result.before}; {advice}"
    )
