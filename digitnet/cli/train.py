"""``digitnet train``: a run folder, and the loop. From options to a configuration is in ``configuration.py``."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from digitnet.cli import train_options as option
from digitnet.cli.configuration import AUTO, configure, load_or_fall_back
from digitnet.cli.options import DataDirOption, print_json
from digitnet.config import RunConfig
from digitnet.errors import printable

if TYPE_CHECKING:
    from digitnet.checkpoint import Checkpoint
    from digitnet.data.digits import Digits
    from digitnet.engine import Result
    from digitnet.scalars import ScalarLog


def train(
    ctx: typer.Context,
    model: option.Model = None,
    preset: option.Preset = None,
    config: option.Config = None,
    dataset: option.Dataset = None,
    data_dir: DataDirOption = None,
    train_size: option.TrainSize = None,
    extra_strokes: option.ExtraStrokes = None,
    nondigits: option.Nondigits = None,
    augment: option.Augment = None,
    hidden_sizes: option.HiddenSizes = None,
    channels: option.Channels = None,
    convs_per_block: option.ConvsPerBlock = None,
    kernel_size: option.KernelSize = None,
    stride: option.Stride = None,
    padding: option.Padding = None,
    pool: option.Pool = None,
    pool_size: option.PoolSize = None,
    pool_stride: option.PoolStride = None,
    activation: option.Activation = None,
    dropout: option.Dropout = None,
    batch_norm: option.BatchNorm = None,
    loss: option.Loss = None,
    label_smoothing: option.LabelSmoothing = None,
    optimizer: option.Optimizer = None,
    learning_rate: option.LearningRate = None,
    momentum: option.Momentum = None,
    nesterov: option.Nesterov = None,
    betas: option.Betas = None,
    weight_decay: option.WeightDecay = None,
    weight_average: option.WeightAverage = None,
    schedule: option.Schedule = None,
    warmup: option.Warmup = None,
    cooldown: option.Cooldown = None,
    step_epochs: option.StepEpochs = None,
    step_factor: option.StepFactor = None,
    batch_size: option.BatchSize = None,
    epochs: option.Epochs = None,
    steps: option.Steps = None,
    patience: option.Patience = None,
    until_accuracy: option.UntilAccuracy = None,
    time_budget: option.TimeBudget = None,
    output: option.Output = Path("checkpoints"),
    name: option.Name = None,
    keep_epochs: option.KeepEpochs = False,
    tensorboard: option.Tensorboard = False,
    json_: option.Json = False,
    seed: option.Seed = None,
    device: option.Device = None,
    precision: option.Precision = None,
) -> None:
    """Train a network and save it in a folder of its own, checkpoints/NAME."""
    # Settings are read through ctx.params, by their names: forty of them need no forty lines here.
    chosen = configure(dict(ctx.params))
    extras = Extras(find_rate=learning_rate == AUTO, keep_epochs=keep_epochs, tensorboard=tensorboard, as_json=json_)
    _run(chosen, data_dir, output, name, extras, may_fall_back=dataset is None and config is None)


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What a run is asked for beside a network."""

    find_rate: bool
    """Find the learning rate by a range test."""
    keep_epochs: bool
    tensorboard: bool
    as_json: bool


def _run(
    config: RunConfig, data_dir: Path | None, output: Path, name: str | None, extras: Extras, *, may_fall_back: bool
) -> None:
    from digitnet import reports
    from digitnet.checkpoint import load_checkpoint
    from digitnet.console.networks import print_curves, print_run
    from digitnet.console.notes import training_view
    from digitnet.device import choose_device, keep_freed_memory
    from digitnet.engine import EpochResult
    from digitnet.explain.training.curves import slim
    from digitnet.runs import BEST, check_run_name
    from digitnet.training import train_run

    keep_freed_memory()
    choose_device(config.train.device)  # a missing one and a wrong name are said before any data are loaded
    check_run_name(name)
    open_log = _scalar_log(extras.tensorboard)  # as is a missing tensorboard
    config, train_digits, validation = load_or_fall_back(config, data_dir, may_fall_back=may_fall_back)
    if extras.find_rate:
        config = _with_found_rate(config, train_digits)
    stem = f"{config.kind}-{Path(config.train.dataset).resolve().name}"
    history: list[Result] = []
    with run_folder(output, name, stem) as folder, training_view() as show, open_log(folder) as log:
        for result in train_run(config, train_digits, validation, folder, keep_epochs=extras.keep_epochs):
            show(result)
            history.append(slim(result))
            if log and isinstance(result, EpochResult):
                log.add(result)
    assert isinstance(result, EpochResult)  # every run ends with one
    best = load_checkpoint(folder / BEST)
    if extras.as_json:
        print_json(reports.run_report(folder, best, result, _draw_curves(folder, best, history)))
    else:
        print_run(folder, best, result, data_dir)
        print_curves(_draw_curves(folder, best, history))  # after all else, for it takes half a second


def _scalar_log(wanted: bool) -> Callable[[Path], AbstractContextManager[ScalarLog | None]]:
    if not wanted:
        return lambda _: nullcontext()
    from digitnet.scalars import ScalarLog

    return ScalarLog


def _with_found_rate(config: RunConfig, train: Digits) -> RunConfig:
    """Put the learning rate that a range test suggests into a configuration."""
    from digitnet.console.notes import note
    from digitnet.range_test import range_test

    test = range_test(config, train)
    note(
        f"Learning rate {test.suggested:g}, found by a range test of {len(test.rates)} steps in {test.elapsed_s:.1f} s."
    )
    return replace(config, train=replace(config.train, learning_rate=test.suggested))


def _draw_curves(folder: Path, best: Checkpoint, history: list[Result]) -> Path | None:
    """Draw how training went, where there is matplotlib; return the file."""
    from digitnet.explain.training.curves import draw_curves, gather_curves
    from digitnet.runs import CURVES, METRICS

    if find_spec("matplotlib") is None:
        return None
    rule, record = best.config.train, best.record
    source = (
        f"{METRICS} of run {printable(folder.name)}, and the loss within epochs: {best.config.kind}, {rule.loss}, "
        f"{rule.optimizer}; {record.train_size:,} images of {printable(record.dataset)}, "
        f"{record.validation_size:,} for validation"
    )
    draw_curves(gather_curves(history, rule, record.train_size + rule.extra_strokes), folder / CURVES, source)
    return folder / CURVES


@contextmanager
def run_folder(output: Path, name: str | None, stem: str) -> Iterator[Path]:
    """Make a run folder, and remove it again when training ends before there is a network in it."""
    from digitnet.console.notes import note
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
