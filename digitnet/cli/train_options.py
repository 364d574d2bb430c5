"""The options of ``digitnet train``, in the order and the groups of its help. What they set is in ``config.py``."""

from __future__ import annotations

from functools import partial
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
    OnNanName,
    OptimizerName,
    PaddingName,
    PoolName,
    PrecisionName,
    ScheduleName,
)
from digitnet.recipes import PresetName

_data, _network, _rule, _stop, _output = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in ("Data", "Network", "Loss and optimizer", "When to stop", "Output and machine")
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
    _data(
        metavar="NAME|DIR",
        help="mnist; strokes, which are built in; or a folder with sub-folders 0 to 9, IDX files or tar shards. "
        "Left out: mnist, and strokes where there is none.",
    ),
]
TrainSize = Annotated[
    int | None,
    _data(help="Train on only so many images; of strokes, draw so many."),
]
ExtraStrokes = Annotated[
    int | None,
    _data(metavar="N", help="Add N digits drawn from strokes, which know more ways of writing than MNIST."),
]
Nondigits = Annotated[
    int | None,
    _data(
        metavar="N", help="Learn to turn away what is no digit, too, from N drawings of letters, scribbles and such."
    ),
]
ShuffleWindow = Annotated[
    int | None,
    _data(
        metavar="N",
        help="Shuffle N images together, at least 1024, and not the whole set, of which only that part is read at a "
        "time then. Left out: the whole set; of tar shards, 262144.",
    ),
]
Augment = Annotated[
    AugmentName | None,
    _data(
        metavar="NAME",
        help=f"Random variants of each image: {choices(AugmentName)}; elastic bends it, all varies pen and ink, too.",
    ),
]
HiddenSizes = Annotated[
    str | None,
    _network(metavar="N,N,...", help="Units of each hidden dense layer; none: no hidden layer."),
]
Channels = Annotated[
    str | None,
    _network(metavar="N,N,...", help="CNN: kernels of each block's convolutions."),
]
ConvsPerBlock = Annotated[int | None, _network(help="CNN: convolutions before each pooling.")]
KernelSize = Annotated[
    str | None,
    _network(
        metavar="N[,N...]", help="CNN: side of a kernel in pixels: 3, 5 or 7; one for all blocks, or one for each."
    ),
]
Stride = Annotated[
    str | None,
    _network(metavar="N[,N...]", help="CNN: step of each block's first convolution; one, or one for each block."),
]
Padding = Annotated[
    PaddingName | None,
    _network(metavar="NAME", help=f"CNN: {choices(PaddingName)}: zeros around the edge, or none."),
]
Pool = Annotated[
    PoolName | None,
    _network(metavar="NAME", help=f"CNN: {choices(PoolName)}, at each block's end."),
]
PoolSize = Annotated[
    str | None,
    _network(
        metavar="N[,N...]", help="CNN: side of the pooling window; one, or one for each block, where 1 is no pooling."
    ),
]
PoolStride = Annotated[
    str | None,
    _network(
        metavar="N[,N...]", help="CNN: step of the pooling window; one, or one for each block. Left out: its side."
    ),
]
Activation = Annotated[
    ActivationName | None,
    _network(metavar="NAME", help=f"After each layer: {choices(ActivationName)}."),
]
Dropout = Annotated[
    float | None,
    _network(help="Share of a dense layer's inputs left out in training."),
]
BatchNorm = Annotated[
    bool | None,
    _network("--batch-norm/--no-batch-norm", help="Normalise each layer over the batch."),
]
Loss = Annotated[
    LossName | None,
    _rule(metavar="NAME", help=f"What training makes small: {choices(LossName)}."),
]
LabelSmoothing = Annotated[
    float | None,
    _rule(help="Share of the target spread over all digits; cross-entropy and bce."),
]
Optimizer = Annotated[
    OptimizerName | None,
    _rule(metavar="NAME", help=f"What turns gradients into updates: {choices(OptimizerName)}."),
]
LearningRate = Annotated[
    str | None,
    _rule(
        metavar="RATE|auto",
        help="Size of an update, at the schedule's peak; auto finds it by a range test. "
        "Left out: the preset's or the optimizer's own.",
    ),
]
Momentum = Annotated[
    float | None,
    _rule(help="Share of the last update kept in the next; sgd and rmsprop."),
]
Nesterov = Annotated[
    bool | None,
    _rule("--nesterov/--no-nesterov", help="sgd: Nesterov's momentum."),
]
Betas = Annotated[
    str | None,
    _rule(metavar="X,X", help="adam, adamw: how much of the past the means of gradients and of their squares keep."),
]
WeightDecay = Annotated[float | None, _rule(help="How strongly weights are drawn to zero.")]
WeightAverage = Annotated[
    float | None,
    _rule(help="Save a running mean of the weights, which keeps this share of itself at each step."),
]
MaxGradNorm = Annotated[
    float | None,
    _rule(help="Scale gradients down to this norm, of all of them together, where it is larger."),
]
Schedule = Annotated[
    ScheduleName | None,
    _rule(metavar="NAME", help=f"How the learning rate changes: {choices(ScheduleName)}."),
]
Warmup = Annotated[
    float | None,
    _rule(help="cosine, one-cycle, trapezoid: share of all steps in which it rises."),
]
Cooldown = Annotated[float | None, _rule(help="trapezoid: share of all steps in which it falls, at the end.")]
StepEpochs = Annotated[int | None, _rule(help="step: epochs between two falls.")]
StepFactor = Annotated[float | None, _rule(help="step: what each fall multiplies it by.")]
BatchSize = Annotated[int | None, _rule(help="Images per step, of all processes together.")]
Epochs = Annotated[int | None, _stop(help="Passes over the training images.")]
Steps = Annotated[int | None, _stop(help="Updates to train for, instead of whole epochs.")]
Patience = Annotated[
    int | None,
    _stop(help="Epochs to wait for a better validation loss, which is known after each epoch."),
]
UntilAccuracy = Annotated[
    str | None,
    _stop(metavar="SHARE", help="Validation accuracy to stop at, after an epoch: 0.99 or 99%."),
]
TimeBudget = Annotated[
    str | None,
    _stop(
        metavar="TIME", help="Time to train for: 60s, 5m or 1h30m; the schedule still runs over --epochs or --steps."
    ),
]
OnNan = Annotated[
    OnNanName | None,
    _stop(
        metavar="NAME",
        help=f"When numbers go wrong, {choices(OnNanName)}: rollback goes on from the last good state, at half the "
        "rate, at most three times.",
    ),
]
Resume = Annotated[
    str | None,
    _stop(
        metavar="RUN|auto",
        help="Go on with a run that was interrupted, to the bit; auto takes the one of that --name, else the newest "
        "that has not ended, else begins one. --epochs or --steps may grow.",
    ),
]
SaveEvery = Annotated[
    str | None,
    _output(
        metavar="STEPS|TIME",
        help="Save the state to go on from every 500 steps, say, or every 30s, and not after each epoch alone.",
    ),
]
Output = Annotated[
    Path,
    _output(metavar="DIR", help="Folder of runs, in which the run gets its own."),
]
Name = Annotated[
    str | None,
    _output(help="The run's name. Left out: its network, data set and a number."),
]
KeepEpochs = Annotated[
    bool, _output("--keep-epochs", help="Keep the network of each epoch, too, for explain training.")
]
Tensorboard = Annotated[
    bool, _output("--tensorboard", help="Write each epoch's numbers into the run folder for TensorBoard, too.")
]
Json = Annotated[bool, _output("--json", help="Print the summary as one JSON document.")]
Seed = Annotated[
    int | None,
    _output(help="The same seed gives the same weights, bit for bit on the CPU."),
]
Deterministic = Annotated[
    bool | None,
    _output(
        "--deterministic/--no-deterministic",
        help="Use only algorithms that give the same bits each time, on a GPU, too.",
    ),
]
Device = Annotated[
    DeviceName | None,
    _output(metavar="NAME", help=f"{choices(DeviceName)}; auto takes a GPU where there is one."),
]
Precision = Annotated[
    PrecisionName | None,
    _output(metavar="NAME", help=f"{choices(PrecisionName)}; auto takes bf16 where the hardware multiplies in it."),
]
