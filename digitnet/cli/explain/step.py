"""``digitnet explain step``: one step of training in slow motion, on a network small enough to follow."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from digitnet.cli import train_options as option
from digitnet.cli.explain.options import AsciiOption, FiguresOption, JsonOption
from digitnet.cli.options import DataDirOption, choices, print_json
from digitnet.config import ActivationName, LossName, OptimizerName, TrainConfig
from digitnet.errors import UsageError
from digitnet.recipes import build_config

if TYPE_CHECKING:
    from digitnet.data.digits import Digits

LARGEST_RATE = 1e6  # of larger ones, no figure could be read
RULES: tuple[OptimizerName | None, ...] = (None, *get_args(OptimizerName))  # None is the plain one
STROKES = 100  # drawn for a step that takes three of them


def step(
    dataset: option.Dataset = None,
    data_dir: DataDirOption = None,
    activation: Annotated[
        ActivationName, typer.Option(metavar="NAME", help=f"Between the two layers: {choices(ActivationName)}.")
    ] = "relu",
    loss: Annotated[
        LossName, typer.Option(metavar="NAME", help=f"What the step makes smaller: {choices(LossName)}.")
    ] = "cross-entropy",
    optimizer: Annotated[
        OptimizerName | None,
        typer.Option(
            metavar="NAME",
            help=f"Rule of the update, set as by train --model mlp: {choices(OptimizerName)}. "
            "Left out: W -= learning_rate * gradient.",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(metavar="RATE", help="Size of the update. Left out: the optimizer's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which images, and which weights to begin with.")] = 0,
    ascii_: AsciiOption = False,
    output: FiguresOption = None,
    json_: JsonOption = False,
) -> None:
    """Take one step of training in slow motion: three images, a network of two layers, and every number.

    The batch, the forward pass, the loss, each gradient by the chain rule beside autograd's and a finite difference,
    the update, the loss after it; and the same step by the rule of every optimizer.
    """
    config = _configure(optimizer, loss=loss, seed=seed, learning_rate=learning_rate)
    rules = [config if name == optimizer else _configure(name, loss=loss, seed=seed) for name in RULES]
    digits = _load(dataset, data_dir)

    from digitnet.explain.step.steps import explain_step

    if output:  # that matplotlib is missing is said before anything is done
        from digitnet.explain.step.figures import draw_step
    explanation = explain_step(digits, config, rules, activation)
    if json_:
        print_json(asdict(explanation))
    else:
        from digitnet.console.steps import print_step

        print_step(explanation, ascii_)
    if output:
        from digitnet.console.notes import note_drawn

        note_drawn(draw_step(explanation, output))


def _configure(optimizer: OptimizerName | None, **settings: Any) -> TrainConfig:
    """Set an optimizer as train does; None is the plain rule, which is sgd without momentum."""
    rule: dict[str, Any] = {"optimizer": optimizer} if optimizer else {"optimizer": "sgd", "momentum": 0.0}
    chosen = {name: value for name, value in settings.items() if value is not None}
    try:
        if chosen.get("learning_rate", 0.0) > LARGEST_RATE:
            raise ValueError(f"learning_rate must be at most {LARGEST_RATE:,.0f} here, not {chosen['learning_rate']:g}")
        return build_config(kind="mlp", overrides=rule | chosen).train
    except ValueError as error:
        setting, _, said = str(error).partition(" ")
        typed = f"--{setting.replace('_', '-')}" if setting in settings else setting
        raise UsageError(f"{typed} {said}") from error


def _load(dataset: str | None, data_dir: Path | None) -> Digits:
    """Load what to take the batch from: training images, for which strokes stand in where there is no MNIST."""
    from digitnet.console.notes import note
    from digitnet.data.load import load_training
    from digitnet.data.mnist import MnistMissingError

    try:
        size = STROKES if dataset == "strokes" else None
        return load_training(dataset or "mnist", data_dir=data_dir, size=size)[0]
    except MnistMissingError as error:
        if dataset:
            raise
        note(f"{error}.\nTaking strokes instead, the digits that are built into digitnet.")
        return load_training("strokes", size=STROKES)[0]
