"""From the options of ``digitnet train`` to a configuration, and to the digits that it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitnet.cli.options import parse_learning_rate, parse_numbers, parse_seconds, parse_share, parse_sizes
from digitnet.config import PER_BLOCK, SHUFFLE_WINDOW, RunConfig
from digitnet.errors import UsageError
from digitnet.recipes import build_config

if TYPE_CHECKING:
    from digitnet.data.digits import Digits

AUTO = "auto"
NOT_SETTINGS = (  # of train, and of explain learning-rate
    "model", "preset", "config", "data_dir", "output", "name", "resume", "save_every", "keep_epochs",
    "tensorboard", "json_", "ascii_",
)  # fmt: skip


def configure(params: dict[str, Any]) -> RunConfig:
    """Turn what was typed into a configuration; what was not typed is None."""
    from digitnet.runs import read_config

    kind, preset, path = params["model"], params["preset"], params["config"]
    overrides = read_overrides(params)
    file = read_config(Path(path)) if path else None
    try:
        return build_config(kind=kind, preset=preset, file=file, overrides=overrides)
    except ValueError as error:
        raise UsageError(str(error)) from error


def read_overrides(params: dict[str, Any]) -> dict[str, Any]:
    """Read the single settings that were typed, by field name."""
    overrides = {key: value for key, value in params.items() if value is not None and key not in NOT_SETTINGS}
    for key in ("hidden_sizes", "channels", *PER_BLOCK):
        if key in overrides:
            sizes = parse_sizes(overrides[key], _option(key))
            overrides[key] = sizes[0] if key in PER_BLOCK and len(sizes) == 1 else sizes
    if overrides.get("learning_rate") == AUTO:
        del overrides["learning_rate"]
    elif "learning_rate" in overrides:
        overrides["learning_rate"] = parse_learning_rate(overrides["learning_rate"], _option("learning_rate"))
    if "betas" in overrides:
        overrides["betas"] = parse_numbers(overrides["betas"], _option("betas"), "0.9,0.999")
    if "until_accuracy" in overrides:
        overrides["until_accuracy"] = parse_share(overrides["until_accuracy"], _option("until_accuracy"))
    if "time_budget" in overrides:
        overrides["time_budget_s"] = parse_seconds(overrides.pop("time_budget"), _option("time_budget"))
    return overrides


def _option(setting: str) -> str:
    return "--" + setting.replace("_", "-")


def load_or_fall_back(
    config: RunConfig, data_dir: Path | None, *, may_fall_back: bool
) -> tuple[RunConfig, Digits, Digits]:
    """Load what to train on, and settle what depends on it.

    A set of shards is shuffled by windows; strokes take the place of an MNIST that nobody asked for by name and that
    is not there.
    """
    from digitnet.console.notes import note
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
    if train_digits.mapped and config.train.shuffle_window is None:
        config = replace(config, train=replace(config.train, shuffle_window=SHUFFLE_WINDOW))
    return config, train_digits, validation
