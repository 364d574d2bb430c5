"""``digitnet explain learning-rate``: a learning-rate range test of the configured network on the real data."""

from __future__ import annotations

from dataclasses import asdict

import typer

from digitnet.cli import train_options as option
from digitnet.cli.configuration import configure, load_or_fall_back
from digitnet.cli.explain.options import AsciiOption, FiguresOption, JsonOption
from digitnet.cli.options import DataDirOption, print_json
from digitnet.errors import printable

FIGURE = "learning-rate.png"


def learning_rate(
    ctx: typer.Context,
    model: option.Model = None,
    preset: option.Preset = None,
    config: option.Config = None,
    dataset: option.Dataset = None,
    data_dir: DataDirOption = None,
    train_size: option.TrainSize = None,
    augment: option.Augment = None,
    hidden_sizes: option.HiddenSizes = None,
    channels: option.Channels = None,
    activation: option.Activation = None,
    dropout: option.Dropout = None,
    batch_norm: option.BatchNorm = None,
    loss: option.Loss = None,
    optimizer: option.Optimizer = None,
    momentum: option.Momentum = None,
    weight_decay: option.WeightDecay = None,
    batch_size: option.BatchSize = None,
    ascii_: AsciiOption = False,
    output: FiguresOption = None,
    json_: JsonOption = False,
    seed: option.Seed = None,
    device: option.Device = None,
    precision: option.Precision = None,
) -> None:
    """Train a new network at ever larger learning rates, and see which are too small, good and too large.

    The options are the most used of train's; a run folder's config.toml, by --config, has them all.
    """
    chosen = configure(dict(ctx.params))

    from digitnet.console.notes import note_drawn
    from digitnet.console.rates import print_rates
    from digitnet.device import choose_device, keep_freed_memory
    from digitnet.range_test import range_test

    if output is not None:
        from digitnet.explain.training.rates import draw_rates  # which says at once that matplotlib is missing
    keep_freed_memory()
    choose_device(chosen.train.device)
    chosen, digits, _ = load_or_fall_back(chosen, data_dir, may_fall_back=dataset is None and config is None)
    test = range_test(chosen, digits)
    if json_:
        print_json({**asdict(test), "good": test.good, "suggested": test.suggested, "config": chosen.to_dict()})
    else:
        print_rates(test, chosen, ascii_)
    if output is not None:
        rule = chosen.train
        source = (
            f"a new {chosen.kind} with seed {rule.seed}, {rule.loss}, {rule.optimizer}: {len(test.rates)} steps of "
            f"{rule.batch_size} of {len(digits):,} images of {printable(digits.name)}"
        )
        draw_rates(test, rule.learning_rate, output / FIGURE, source)
        note_drawn([output / FIGURE])
