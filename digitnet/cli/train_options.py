"""The options of ``digitnet train``, in the order and the groups of its help. What they set is in ``config.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from digitnet.cli.options import choices
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
    ScheduleName,
)
from digitnet.recipes import PresetName

DATA, NETWORK, RULE, STOP, OUTPUT = (
    "Data",
    "Network",
    "Loss and optimizer",
    "When to stop",
    "Output and machine",
)

Model = Annotated[
    ModelKind | None, typer.Option(metavar="NAME", help=f"Kind of network: {choices(ModelKind)}. Left out: cnn.")
]
Preset = Annotated[
    PresetName | None,
    typer.Option(
        metavar="NAME",
        help=f"A ready recipe, which any option overrides: {choices(PresetName)}. Left out: standard.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE.toml", help="Settings from a file, such as a run folder's config.toml, instead."),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|DIR",
        help="mnist; strokes, which are built in; or a folder with sub-folders 0 to 9 or IDX files. "
        "Left out: mnist, and strokes where there is none.",
        rich_help_panel=DATA,
    ),
]
TrainSize = Annotated[
    int | None,
    typer.Option(help="Train on only so many images; of strokes, draw so many.", rich_help_panel=DATA),
]
Augment = Annotated[
    AugmentName | None,
    typer.Option(
        metavar="NAME",
        help=f"Random variants of each image: {choices(AugmentName)}; elastic bends it, all varies the pen too.",
        rich_help_panel=DATA,
    ),
]
HiddenSizes = Annotated[
    str | None,
    typer.Option(
        metavar="N,N,...",
        help="Units of each hidden dense layer; none: no hidden layer.",
        rich_help_panel=NETWORK,
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(metavar="N,N,...", help="CNN: kernels of each block's convolutions.", rich_help_panel=NETWORK),
]
ConvsPerBlock = Annotated[
    int | None, typer.Option(help="CNN: convolutions before each pooling.", rich_help_panel=NETWORK)
]
KernelSize = Annotated[
    str | None,
    typer.Option(
        metavar="N[,N...]",
        help="CNN: side of a kernel in pixels: 3, 5 or 7; one for all blocks, or one for each.",
        rich_help_panel=NETWORK,
    ),
]
Stride = Annotated[
    str | None,
    typer.Option(
        metavar="N[,N...]",
        help="CNN: step of each block's first convolution; one, or one for each block.",
        rich_help_panel=NETWORK,
    ),
]
Padding = Annotated[
    PaddingName | None,
    typer.Option(
        metavar="NAME",
        help=f"CNN: {choices(PaddingName)}: zeros around the edge, or none.",
        rich_help_panel=NETWORK,
    ),
]
Pool = Annotated[
    PoolName | None,
    typer.Option(metavar="NAME", help=f"CNN: {choices(PoolName)}, at each block's end.", rich_help_panel=NETWORK),
]
PoolSize = Annotated[
    str | None,
    typer.Option(
        metavar="N[,N...]",
        help="CNN: side of the pooling window; one, or one for each block, where 1 is no pooling.",
        rich_help_panel=NETWORK,
    ),
]
PoolStride = Annotated[
    str | None,
    typer.Option(
        metavar="N[,N...]",
        help="CNN: step of the pooling window; one, or one for each block. Left out: its side.",
        rich_help_panel=NETWORK,
    ),
]
Activation = Annotated[
    ActivationName | None,
    typer.Option(metavar="NAME", help=f"After each layer: {choices(ActivationName)}.", rich_help_panel=NETWORK),
]
Dropout = Annotated[
    float | None,
    typer.Option(help="Share of a dense layer's inputs left out in training.", rich_help_panel=NETWORK),
]
BatchNorm = Annotated[
    bool | None,
    typer.Option(
        "--batch-norm/--no-batch-norm",
        help="Normalise each layer over the batch.",
        rich_help_panel=NETWORK,
    ),
]
Loss = Annotated[
    LossName | None,
    typer.Option(metavar="NAME", help=f"What training makes small: {choices(LossName)}.", rich_help_panel=RULE),
]
LabelSmoothing = Annotated[
    float | None,
    typer.Option(help="Share of the target spread over all digits; cross-entropy and bce.", rich_help_panel=RULE),
]
Optimizer = Annotated[
    OptimizerName | None,
    typer.Option(
        metavar="NAME", help=f"What turns gradients into updates: {choices(OptimizerName)}.", rich_help_panel=RULE
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        help="Size of an update, at the schedule's peak. Left out: the optimizer's own.",
        rich_help_panel=RULE,
    ),
]
Momentum = Annotated[
    float | None,
    typer.Option(help="Share of the last update kept in the next; sgd and rmsprop.", rich_help_panel=RULE),
]
Nesterov = Annotated[
    bool | None,
    typer.Option("--nesterov/--no-nesterov", help="sgd: Nesterov's momentum.", rich_help_panel=RULE),
]
Betas = Annotated[
    str | None,
    typer.Option(
        metavar="X,X",
        help="adam, adamw: how much of the past the means of gradients and of their squares keep.",
        rich_help_panel=RULE,
    ),
]
WeightDecay = Annotated[
    float | None, typer.Option(help="How strongly weights are drawn to zero.", rich_help_panel=RULE)
]
WeightAverage = Annotated[
    float | None,
    typer.Option(
        help="Save a running mean of the weights, which keeps this share of itself at each step.",
        rich_help_panel=RULE,
    ),
]
Schedule = Annotated[
    ScheduleName | None,
    typer.Option(metavar="NAME", help=f"How the learning rate changes: {choices(ScheduleName)}.", rich_help_panel=RULE),
]
Warmup = Annotated[
    float | None,
    typer.Option(help="cosine, one-cycle: share of all steps in which it rises.", rich_help_panel=RULE),
]
StepEpochs = Annotated[int | None, typer.Option(help="step: epochs between two falls.", rich_help_panel=RULE)]
StepFactor = Annotated[float | None, typer.Option(help="step: what each fall multiplies it by.", rich_help_panel=RULE)]
BatchSize = Annotated[int | None, typer.Option(help="Images per step.", rich_help_panel=RULE)]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training images.", rich_help_panel=STOP)]
Steps = Annotated[int | None, typer.Option(help="Updates to train for, instead of whole epochs.", rich_help_panel=STOP)]
Patience = Annotated[
    int | None,
    typer.Option(
        help="Epochs to wait for a better validation loss, which is known after each epoch.", rich_help_panel=STOP
    ),
]
UntilAccuracy = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE", help="Validation accuracy to stop at, after an epoch: 0.99 or 99%.", rich_help_panel=STOP
    ),
]
TimeBudget = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Time to train for: 60s, 5m or 1h30m; the schedule still runs over --epochs or --steps.",
        rich_help_panel=STOP,
    ),
]
Output = Annotated[
    Path,
    typer.Option(metavar="DIR", help="Folder of runs, in which the run gets its own.", rich_help_panel=OUTPUT),
]
Name = Annotated[
    str | None,
    typer.Option(help="The run's name. Left out: its network, data set and a number.", rich_help_panel=OUTPUT),
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.", rich_help_panel=OUTPUT)]
Seed = Annotated[
    int | None,
    typer.Option(help="The same seed gives the same weights, bit for bit on the CPU.", rich_help_panel=OUTPUT),
]
Device = Annotated[
    DeviceName | None,
    typer.Option(
        metavar="NAME", help=f"{choices(DeviceName)}; auto takes a GPU where there is one.", rich_help_panel=OUTPUT
    ),
]
Precision = Annotated[
    PrecisionName | None,
    typer.Option(
        metavar="NAME",
        help=f"{choices(PrecisionName)}; auto takes bf16 where the hardware multiplies in it.",
        rich_help_panel=OUTPUT,
    ),
]
