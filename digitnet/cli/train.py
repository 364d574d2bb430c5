"""``digitnet train``: options to a configuration, a run folder, and the loop."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from digitnet.cli.options import DataDirOption, choices, parse_seconds, parse_share, parse_sizes, print_json
from digitnet.config import (
    ActivationName,
    AugmentName,
    DeviceName,
    LossName,
    ModelKind,
    OptimizerName,
    PaddingName,
    PoolName,
    PrecisionName,
    RunConfig,
    ScheduleName,
)
from digitnet.errors import UsageError
from digitnet.recipes import PresetName, build_config

if TYPE_CHECKING:
    from digitnet.data.digits import Digits

DATA, NETWORK, RULE, STOP, OUTPUT = (
    "Data",
    "Network",
    "Loss and optimizer",
    "When to stop",
    "Output and machine",
)


def train(
    ctx: typer.Context,
    model: Annotated[
        ModelKind | None, typer.Option(metavar="NAME", help=f"Kind of network: {choices(ModelKind)}. Left out: cnn.")
    ] = None,
    preset: Annotated[
        PresetName | None,
        typer.Option(
            metavar="NAME",
            help=f"A ready recipe, which any option overrides: {choices(PresetName)}. Left out: standard.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Settings from a file, such as a run folder's config.toml, instead."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR",
            help="mnist; strokes, which are built in; or a folder with sub-folders 0 to 9 or IDX files. "
            "Left out: mnist, and strokes where there is none.",
            rich_help_panel=DATA,
        ),
    ] = None,
    data_dir: DataDirOption = None,
    train_size: Annotated[
        int | None,
        typer.Option(help="Train on only so many images; of strokes, draw so many.", rich_help_panel=DATA),
    ] = None,
    augment: Annotated[
        AugmentName | None,
        typer.Option(
            metavar="NAME",
            help=f"Random variants of each image: {choices(AugmentName)} (which bends it too).",
            rich_help_panel=DATA,
        ),
    ] = None,
    hidden_sizes: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Units of each hidden dense layer; none: no hidden layer.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="CNN: kernels of each block's convolutions.", rich_help_panel=NETWORK),
    ] = None,
    convs_per_block: Annotated[
        int | None, typer.Option(help="CNN: convolutions before each pooling.", rich_help_panel=NETWORK)
    ] = None,
    kernel_size: Annotated[
        int | None, typer.Option(help="CNN: side of a kernel in pixels: 3, 5 or 7.", rich_help_panel=NETWORK)
    ] = None,
    stride: Annotated[
        int | None, typer.Option(help="CNN: step of each block's first convolution.", rich_help_panel=NETWORK)
    ] = None,
    padding: Annotated[
        PaddingName | None,
        typer.Option(
            metavar="NAME",
            help=f"CNN: {choices(PaddingName)}: zeros around the edge, or none.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    pool: Annotated[
        PoolName | None,
        typer.Option(metavar="NAME", help=f"CNN: {choices(PoolName)}, at each block's end.", rich_help_panel=NETWORK),
    ] = None,
    pool_size: Annotated[
        int | None, typer.Option(help="CNN: side of the pooling window.", rich_help_panel=NETWORK)
    ] = None,
    pool_stride: Annotated[
        int | None,
        typer.Option(help="CNN: step of the pooling window. Left out: its side.", rich_help_panel=NETWORK),
    ] = None,
    activation: Annotated[
        ActivationName | None,
        typer.Option(metavar="NAME", help=f"After each layer: {choices(ActivationName)}.", rich_help_panel=NETWORK),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help="Share of a dense layer's inputs left out in training.", rich_help_panel=NETWORK),
    ] = None,
    batch_norm: Annotated[
        bool | None,
        typer.Option(
            "--batch-norm/--no-batch-norm",
            help="Normalise each layer over the batch.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    loss: Annotated[
        LossName | None,
        typer.Option(metavar="NAME", help=f"What training makes small: {choices(LossName)}.", rich_help_panel=RULE),
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option(help="Share of the target spread over all digits; cross-entropy and bce.", rich_help_panel=RULE),
    ] = None,
    optimizer: Annotated[
        OptimizerName | None,
        typer.Option(
            metavar="NAME", help=f"What turns gradients into updates: {choices(OptimizerName)}.", rich_help_panel=RULE
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Size of an update, at the schedule's peak. Left out: the optimizer's own.",
            rich_help_panel=RULE,
        ),
    ] = None,
    momentum: Annotated[
        float | None,
        typer.Option(help="Share of the last update kept in the next; sgd and rmsprop.", rich_help_panel=RULE),
    ] = None,
    nesterov: Annotated[
        bool | None,
        typer.Option("--nesterov/--no-nesterov", help="sgd: Nesterov's momentum.", rich_help_panel=RULE),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="How strongly weights are drawn to zero.", rich_help_panel=RULE)
    ] = None,
    schedule: Annotated[
        ScheduleName | None,
        typer.Option(
            metavar="NAME", help=f"How the learning rate changes: {choices(ScheduleName)}.", rich_help_panel=RULE
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(help="cosine, one-cycle: share of all steps in which it rises.", rich_help_panel=RULE),
    ] = None,
    step_epochs: Annotated[
        int | None, typer.Option(help="step: epochs between two falls.", rich_help_panel=RULE)
    ] = None,
    step_factor: Annotated[
        float | None, typer.Option(help="step: what each fall multiplies it by.", rich_help_panel=RULE)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.", rich_help_panel=RULE)] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.", rich_help_panel=STOP)] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs to wait for a better validation loss.", rich_help_panel=STOP)
    ] = None,
    until_accuracy: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="Validation accuracy to stop at: 0.99 or 99%.", rich_help_panel=STOP),
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time to train for: 60s, 5m or 1h30m; the schedule still runs over --epochs.",
            rich_help_panel=STOP,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of runs, in which the run gets its own.", rich_help_panel=OUTPUT),
    ] = Path("checkpoints"),
    name: Annotated[
        str | None,
        typer.Option(help="The run's name. Left out: its network, data set and a number.", rich_help_panel=OUTPUT),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON document.", rich_help_panel=OUTPUT)
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(help="The same seed gives the same weights, bit for bit on the CPU.", rich_help_panel=OUTPUT),
    ] = None,
    device: Annotated[
        DeviceName | None,
        typer.Option(
            metavar="NAME", help=f"{choices(DeviceName)}; auto takes a GPU where there is one.", rich_help_panel=OUTPUT
        ),
    ] = None,
    precision: Annotated[
        PrecisionName | None,
        typer.Option(
            metavar="NAME",
            help=f"{choices(PrecisionName)}; auto takes bf16 where the hardware multiplies in it.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Train a network and save it in a folder of its own, checkpoints/NAME."""
    # Settings are read through ctx.params, by their names: forty of them need no forty lines here.
    chosen = _configure(dict(ctx.params))
    _run(chosen, data_dir, output, name, may_fall_back=dataset is None and config is None, as_json=json_)


NOT_SETTINGS = ("model", "preset", "config", "data_dir", "output", "name", "json_")


def _configure(params: dict[str, Any]) -> RunConfig:
    """Turn what was typed into a configuration; what was not typed is None."""
    from digitnet.runs import read_config

    kind, preset, path = params["model"], params["preset"], params["config"]
    overrides = {key: value for key, value in params.items() if value is not None and key not in NOT_SETTINGS}
    for key in ("hidden_sizes", "channels"):
        if key in overrides:
            overrides[key] = parse_sizes(overrides[key], _option(key))
    if "until_accuracy" in overrides:
        overrides["until_accuracy"] = parse_share(overrides["until_accuracy"], _option("until_accuracy"))
    if "time_budget" in overrides:
        overrides["time_budget_s"] = parse_seconds(overrides.pop("time_budget"), _option("time_budget"))
    file = read_config(Path(path)) if path else None
    try:
        return build_config(kind=kind, preset=preset, file=file, overrides=overrides)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _option(setting: str) -> str:
    return "--" + setting.replace("_", "-")


def _run(
    config: RunConfig,
    data_dir: Path | None,
    output: Path,
    name: str | None,
    *,
    may_fall_back: bool,
    as_json: bool,
) -> None:
    from digitnet import console, reports
    from digitnet.checkpoint import load_checkpoint
    from digitnet.device import choose_device
    from digitnet.engine import EpochResult
    from digitnet.runs import BEST, check_run_name
    from digitnet.training import train_run

    choose_device(config.train.device)  # a missing one and a wrong name are said before any data are loaded
    check_run_name(name)
    config, train_digits, validation = _load(config, data_dir, may_fall_back)
    stem = f"{config.kind}-{Path(config.train.dataset).resolve().name}"
    with _run_folder(output, name, stem) as folder, console.training_view(config.train) as show:
        for result in train_run(config, train_digits, validation, folder):
            show(result)
    assert isinstance(result, EpochResult)  # every run ends with one
    best = load_checkpoint(folder / BEST)
    if as_json:
        print_json(reports.run_report(folder, best, result))
    else:
        console.print_run(folder, best, result, data_dir)


def _load(config: RunConfig, data_dir: Path | None, may_fall_back: bool) -> tuple[RunConfig, Digits, Digits]:
    """Load what to train on; strokes take the place of an MNIST that nobody asked for by name and that is not there."""
    from digitnet.console import note
    from digitnet.data.load import load_training
    from digitnet.data.mnist import MnistMissingError

    settings = config.train
    try:
        train_digits, validation = load_training(settings.dataset, data_dir=data_dir, size=settings.train_size)
    except MnistMissingError as error:
        if not may_fall_back:
            raise
        note(f"{error}.\nTraining on strokes instead, the digits that are built into digitnet.")
        config = replace(config, train=replace(settings, dataset="strokes"))
        train_digits, validation = load_training("strokes", size=settings.train_size)
    return config, train_digits, validation


@contextmanager
def _run_folder(output: Path, name: str | None, stem: str) -> Iterator[Path]:
    """Make a run folder, and remove it again when training ends before there is a network in it."""
    from digitnet.console import note
    from digitnet.runs import BEST, create_run_folder

    folder = create_run_folder(output, name, stem)
    try:
        yield folder
    except BaseException:
        if (folder / BEST).exists():
            note(f"The best network so far is {folder / BEST}.")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        raise
