"""``digitnet explain image``: one picture on its way through a network, and why the answer is what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from digitnet.cli.explain.options import AsciiOption, FiguresOption, JsonOption
from digitnet.cli.options import CheckpointOption, DataDirOption, print_json
from digitnet.errors import BlankError, PictureError, UsageError, printable

if TYPE_CHECKING:
    from digitnet.checkpoint import TrainingRecord
    from digitnet.explain.image.references import References
    from digitnet.predictor import Classifier, Prediction


def image(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture of one digit.")],
    output: FiguresOption = None,
    checkpoint: CheckpointOption = None,
    layer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The convolution to look at, such as block2.conv1. Left out: the first."),
    ] = None,
    kernel: Annotated[
        int | None,
        typer.Option(metavar="N", help="Its kernel to show step by step, from 0. Left out: the most active one."),
    ] = None,
    data_dir: DataDirOption = None,
    ascii_: AsciiOption = False,
    json_: JsonOption = False,
) -> None:
    """Follow one picture through a network: convolution, feature maps, representations, and why it is read so.

    The figures say of which layer they are. Training digits, for comparison, are those that trained the network; where
    MNIST is not there, the digits that are built in stand in for them.
    """
    if str(file) == "-":
        raise UsageError("explain image reads a file, and no picture from stdin; give its name instead of -")

    from digitnet.console.explanations import print_explanation
    from digitnet.console.notes import note_checkpoint
    from digitnet.decoding import read_picture
    from digitnet.device import keep_freed_memory
    from digitnet.explain.image.explanation import explain
    from digitnet.explain.image.report import explanation_report
    from digitnet.predictor import Classifier

    keep_freed_memory()
    if output:  # that matplotlib is missing is said before anything is computed
        from digitnet.explain.image.gallery import draw_all
    classifier = Classifier.load(checkpoint)
    prediction = _predict(classifier, file)
    note_checkpoint(classifier)
    references = _load_references(classifier.checkpoint.record, data_dir)
    explanation = explain(classifier, prediction, references, layer=layer, kernel=kernel)
    figures: tuple[Path, ...] = ()
    if output:
        figures = draw_all(output, explanation, read_picture(file).picture, str(file))
    if json_:
        print_json(explanation_report(explanation, classifier.path, figures))
    else:
        print_explanation(explanation, figures, ascii_)


def _predict(classifier: Classifier, file: Path) -> Prediction:
    """Read the digit of one picture; what was turned away is explained all the same, and said."""
    from digitnet.console.notes import note
    from digitnet.sources import Unreadable

    (answer,) = classifier.predict_files([file], show=True)
    if isinstance(answer, Unreadable):
        raise PictureError(answer.error)
    if answer.digit is None:
        found = (
            "noise: nothing is written in it" if answer.reason == "noise" else "blank: no ink stands out from the paper"
        )
        raise BlankError(f"{printable(file)} is {found}, so there is nothing to explain")
    if answer.reason:
        note(f"predict turns this picture away ({answer.reason}); here is what the network makes of it all the same.")
    return answer


def _load_references(record: TrainingRecord, data_dir: Path | None) -> References:
    """Load digits to compare with; strokes take the place of a data set that is not there."""
    from digitnet.console.notes import note
    from digitnet.data.mnist import MnistMissingError
    from digitnet.explain.image.references import load_references, stroke_references

    try:
        if record.dataset not in ("mnist", "strokes") and not Path(record.dataset).is_dir():
            note(f"{record.dataset}, which trained this network, is not there.")
        else:
            return load_references(record, data_dir)
    except MnistMissingError as error:
        note(f"{error}.")
    note("Comparing with strokes instead, the digits that are built into digitnet.")
    return stroke_references()
