"""``digitnet info``: what a checkpoint is made of and how it came about."""

from __future__ import annotations

from typing import Annotated

import typer

from digitnet.cli.options import CHECKPOINT_HELP, print_json


def info(
    checkpoint: Annotated[str | None, typer.Argument(metavar="[CHECKPOINT]", help=CHECKPOINT_HELP)] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show each layer with its output shape, parameters and multiply-adds; the data set, metrics and configuration."""
    from digitnet import reports
    from digitnet.console.networks import print_info
    from digitnet.console.notes import note_checkpoint
    from digitnet.predictor import Classifier
    from digitnet.summary import summarise

    classifier = Classifier.load(checkpoint)
    note_checkpoint(classifier)
    layers = summarise(classifier.model)
    if json_:
        print_json(reports.info_report(classifier, layers))
    else:
        print_info(classifier.checkpoint, layers)
