"""``digitnet train``: a run folder, and the loop. From options to a configuration is in ``configuration.py``."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from digitnet.cli import train_options as option
from digitnet.cli.configuration import AUTO, configure, load_or_fall_back
from digitnet.cli.interruption import Interruption
from digitnet.cli.launched import recall_run, remember_run, settings_of
from digitnet.cli.options import DataDirOption, parse_save_every
from digitnet.cli.outcome import sum_up
from digitnet.cli.resuming import find_resumable, how_to_go_further, load_resumed
from digitnet.cli.run_folders import last_words, run_folder
from digitnet.config import RunConfig

if TYPE_CHECKING:
    from digitnet.data.digits import Digits
    from digitnet.distributed import World
    from digitnet.scalars import ScalarLog
    from digitnet.snapshots import Snapshot


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
    shuffle_window: option.ShuffleWindow = None,
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
    max_grad_norm: option.MaxGradNorm = None,
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
    on_nan: option.OnNan = None,
    resume: option.Resume = None,
    save_every: option.SaveEvery = None,
    output: option.Output = Path("checkpoints"),
    name: option.Name = None,
    keep_epochs: option.KeepEpochs = False,
    tensorboard: option.Tensorboard = False,
    json_: option.Json = False,
    seed: option.Seed = None,
    deterministic: option.Deterministic = None,
    device: option.Device = None,
    precision: option.Precision = None,
) -> None:
    """Train a network and save it in a folder of its own, checkpoints/NAME.

    Under torchrun, PyTorch's launcher, several processes share each batch: see docs/scale.md.
    """
    # Settings are read through ctx.params, by their names: forty of them need no forty lines here.
    params = dict(ctx.params)
    steps_or_s = parse_save_every(save_every, "--save-every") if save_every is not None else (None, None)
    extras = Extras(
        data_dir=data_dir,
        save_every_steps=steps_or_s[0],
        save_every_s=steps_or_s[1],
        keep_epochs=keep_epochs,
        tensorboard=tensorboard,
        as_json=json_,
        settings=settings_of(params),
        retyped=_retyped(data_dir, save_every, keep_epochs=keep_epochs, tensorboard=tensorboard),
    )
    wanted = configure(params) if resume is None else None  # what is wrong is said before PyTorch is imported

    from digitnet.device import choose_device, keep_freed_memory
    from digitnet.distributed import joined

    keep_freed_memory()
    with joined(extras.settings, choose_device(wanted.train.device if wanted else device or "auto").type) as world:
        params = recall_run(world, params)
        folder = _find_resumable(params) if world.is_first else None
        if world.broadcast(folder is not None):
            _go_on(folder, params, extras, world)
        else:
            _begin(wanted or configure(params), params, extras, world)


def _find_resumable(params: dict[str, Any]) -> Path | None:
    if params["resume"] is None:
        return None
    return find_resumable(params["resume"], params["output"], params["name"])


def _retyped(data_dir: Path | None, save_every: str | None, *, keep_epochs: bool, tensorboard: bool) -> str:
    given = {"--data-dir": data_dir, "--save-every": save_every}
    typed = "".join(f" {option} {shlex.quote(str(value))}" for option, value in given.items() if value is not None)
    return typed + " --keep-epochs" * keep_epochs + " --tensorboard" * tensorboard


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What a run is asked for beside a network."""

    data_dir: Path | None
    save_every_steps: int | None
    save_every_s: float | None
    keep_epochs: bool
    tensorboard: bool
    as_json: bool
    settings: dict[str, str]
    """All options as they were typed."""
    retyped: str
    """Those of the options that have to be typed again when the run goes on."""


def _begin(config: RunConfig, params: dict[str, Any], extras: Extras, world: World) -> None:
    """Train a new run."""
    from digitnet.device import choose_device
    from digitnet.runs import check_run_name

    choose_device(config.train.device)  # a missing one and a wrong name are said before any data are loaded
    check_run_name(params["name"])
    open_log = _scalar_log(extras.tensorboard and world.is_first)  # as is a missing tensorboard
    may_fall_back = params["dataset"] is None and params["config"] is None
    config, digits, validation = _load(config, extras, world, may_fall_back=may_fall_back)
    if params["learning_rate"] == AUTO:
        config = world.broadcast(_with_found_rate(config, digits) if world.is_first else config)
    if not world.is_first:
        _train(config, digits, validation, None, extras, open_log, world)
        return
    stem = f"{config.kind}-{Path(config.train.dataset).resolve().name}"
    with run_folder(
        params["output"], params["name"], stem, extras.retyped, may_exist=params["resume"] is not None
    ) as folder:
        remember_run(world, extras.settings, folder)
        _train(config, digits, validation, folder, extras, open_log, world)
    sum_up(folder, extras.data_dir, as_json=extras.as_json)


def _go_on(folder: Path | None, params: dict[str, Any], extras: Extras, world: World) -> None:
    """Train a run further, from its newest state; the folder is the first process's alone."""
    from digitnet.console.notes import note
    from digitnet.runs import locked

    open_log = _scalar_log(extras.tensorboard and world.is_first)
    with locked(folder) if folder else nullcontext():
        resumed = world.broadcast(load_resumed(folder, params) if folder else None)
        assert resumed is not None
        if resumed.ended:
            note(f"Run {folder} has ended; {how_to_go_further(resumed.snapshot)}.")
        else:
            config, position = resumed.snapshot.config, resumed.snapshot.state.position
            note(f"Going on with run {folder} after step {position.step:,}.")
            _, digits, validation = _load(config, extras, world, may_fall_back=False)
            with last_words(folder, extras.retyped) if folder else nullcontext():
                if folder:
                    remember_run(world, extras.settings, folder)
                _train(config, digits, validation, folder, extras, open_log, world, resumed.snapshot)
    if folder:
        sum_up(folder, extras.data_dir, as_json=extras.as_json)


def _load(config: RunConfig, extras: Extras, world: World, *, may_fall_back: bool) -> tuple[RunConfig, Digits, Digits]:
    """Load what to train on, once on each machine."""
    from digitnet.data.once import load_once

    def load() -> tuple[Digits, Digits]:
        nonlocal config
        config, *digits = load_or_fall_back(config, extras.data_dir, may_fall_back=may_fall_back)
        return digits[0], digits[1]

    train_digits, validation = load_once(world, load)
    return world.broadcast(config), train_digits, validation


def _train(
    config: RunConfig,
    digits: Digits,
    validation: Digits,
    folder: Path | None,
    extras: Extras,
    open_log: Callable[[Path, int | None], AbstractContextManager[ScalarLog | None]],
    world: World,
    resume: Snapshot | None = None,
) -> None:
    from digitnet.console.notes import note_sharing, training_view
    from digitnet.device import choose_device
    from digitnet.progress import EpochResult
    from digitnet.training import Saving, train_run

    kept = resume.journal.until(resume.state.position).epochs if resume else ()
    log_of = open_log(folder, kept[-1].step if kept else None) if folder else nullcontext()
    note_sharing(config, world.size, choose_device(config.train.device).type)
    with Interruption(launched=world.size > 1) as interruption, log_of as log, training_view() as show:
        saving = Saving(every_steps=extras.save_every_steps, every_s=extras.save_every_s, poll_signal=interruption.poll)
        results = train_run(
            config,
            digits,
            validation,
            folder,
            keep_epochs=extras.keep_epochs,
            resume=resume,
            saving=saving,
            world=world,
        )
        for result in results:
            show(result)
            if log and isinstance(result, EpochResult):
                log.add(result)


def _scalar_log(wanted: bool) -> Callable[[Path, int | None], AbstractContextManager[ScalarLog | None]]:
    if not wanted:
        return lambda _, __: nullcontext()
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
