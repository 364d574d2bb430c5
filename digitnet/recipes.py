"""From options to a configuration: the presets, and the defaults of each optimizer, schedule and pooling.

Standard library only, like ``config.py``, which says what a configuration is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Literal

from digitnet.config import PER_BLOCK, CNNConfig, MLPConfig, ModelConfig, ModelKind, RunConfig, TrainConfig, build

PresetName = Literal["fast", "standard", "best", "handwriting"]

Settings = Mapping[str, Any]

PRESETS: dict[ModelKind, dict[PresetName, Settings]] = {
    "cnn": {
        "fast": {
            "channels": (16, 32, 64), "kernel_size": (5, 3, 3), "stride": (2, 1, 1), "padding": "valid",
            "pool_size": (1, 2, 1), "hidden_sizes": (64,), "steps": 112, "batch_size": 256, "learning_rate": 0.04,
            "betas": (0.7, 0.9), "warmup": 0.1, "label_smoothing": 0.05,
        },
        "standard": {
            "channels": (32, 64, 64, 128), "kernel_size": (5, 3, 3, 3), "padding": "valid", "pool_size": (2, 1, 2, 1),
            "hidden_sizes": (128,), "epochs": 9, "batch_size": 256, "augment": "elastic", "dropout": 0.2,
            "weight_decay": 0.2, "weight_average": 0.99,
        },
        "best": {
            "channels": (64, 64, 128, 128, 256), "padding": "valid", "pool_size": (1, 2, 1, 2, 1),
            "hidden_sizes": (256,), "epochs": 40, "batch_size": 128, "augment": "elastic", "dropout": 0.3,
            "label_smoothing": 0.1, "weight_decay": 0.2, "weight_average": 0.998,
        },
        "handwriting": {
            "channels": (64, 128, 128, 256), "kernel_size": (5, 3, 3, 3), "padding": "valid", "pool_size": (2, 1, 2, 1),
            "hidden_sizes": (128,), "epochs": 44, "batch_size": 256, "extra_strokes": 50_000, "nondigits": 48_000,
            "augment": "all", "dropout": 0.2, "schedule": "trapezoid", "cooldown": 0.6, "learning_rate": 0.002,
            "weight_decay": 0.2, "weight_average": 0.999,
        },
    },
    "mlp": {
        "fast": {"hidden_sizes": (256,), "epochs": 3, "batch_size": 256},
        "standard": {
            "hidden_sizes": (512, 256), "batch_norm": True, "dropout": 0.1, "epochs": 10, "batch_size": 256,
            "augment": "affine",
        },
        "best": {
            "hidden_sizes": (2048, 2048), "batch_norm": True, "dropout": 0.3, "epochs": 60, "batch_size": 256,
            "augment": "elastic", "label_smoothing": 0.05, "weight_average": 0.998,
        },
        "handwriting": {
            "hidden_sizes": (1024, 512), "batch_norm": True, "dropout": 0.1, "epochs": 40, "batch_size": 256,
            "extra_strokes": 50_000, "nondigits": 48_000, "augment": "all", "schedule": "trapezoid",
            "learning_rate": 0.002, "weight_average": 0.999,
        },
    },
}  # fmt: skip

# What digitnet adapt does, beside its own options.
ADAPT: dict[str, Any] = {"batch_size": 128, "augment": "elastic", "schedule": "cosine", "warmup": 0.1}

OPTIMIZER_DEFAULTS: dict[str, Settings] = {
    "sgd": {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
    "rmsprop": {"learning_rate": 1e-3, "momentum": 0.0},
    "adagrad": {"learning_rate": 1e-2},
    "adadelta": {"learning_rate": 1.0},
    "adam": {"learning_rate": 2e-3},
    "adamw": {"learning_rate": 4e-3, "weight_decay": 0.05},
}
SCHEDULE_DEFAULTS: dict[str, Settings] = {
    "constant": {},
    "step": {"step_epochs": 1, "step_factor": 0.7},
    "cosine": {"warmup": 0.0},
    "one-cycle": {"warmup": 0.25},
    "trapezoid": {"warmup": 0.02, "cooldown": 0.25},
}
POOL_DEFAULTS: dict[str, Settings] = {"max": {"pool_size": 2}, "avg": {"pool_size": 2}, "none": {}}

WINDOWS = {"kernel_size", "stride", "pool_size", "pool_stride", "convs_per_block"}

# What belongs to a choice and means nothing, or something else, beside another: choosing anew drops it.
DEPENDENTS: dict[str, tuple[str, ...]] = {
    "optimizer": ("learning_rate", "momentum", "nesterov", "betas", "weight_decay"),
    "schedule": ("warmup", "cooldown", "step_epochs", "step_factor"),
    "loss": ("label_smoothing",),
    "pool": ("pool_size", "pool_stride"),
    "pool_size": ("pool_stride",),
    "epochs": ("steps",),
    "steps": ("epochs",),
}


def build_config(
    *,
    kind: ModelKind | None = None,
    preset: PresetName | None = None,
    file: RunConfig | None = None,
    overrides: Settings,
) -> RunConfig:
    """Build the configuration of a run: a preset or a file, with single settings put over it.

    Args:
        kind: None takes the file's, else cnn.
        preset: None is standard where there is no file.
        file: A configuration read from a file, instead of a preset.
        overrides: Settings by field name. One that chooses anew (an optimizer, say) drops what the preset or the
            file says of the old choice, and the new choice's defaults take its place.

    Raises:
        ValueError: A setting is unknown to this kind of network, out of range, or contradicts another.
    """
    if file is not None and preset is not None:
        raise ValueError("give a preset or a configuration file, not both")
    if file is not None and kind not in (None, file.kind):
        raise ValueError(f"the configuration file describes a network of kind {file.kind}, not {kind}")
    kind = kind or (file.kind if file else "cnn")
    base = _flatten(file) if file else _preset(kind, preset or "standard", overrides)
    settings = _with_defaults(kind, {**_without_dependents(base, overrides), **overrides})
    return _split(kind, settings)


# What may change when a run goes on: when it stops, and what is done when numbers go wrong.
GROWING = ("epochs", "steps")
FREE = ("time_budget_s", "until_accuracy", "on_nan")


def resumed_config(saved: RunConfig, overrides: Settings) -> RunConfig:
    """Build the configuration of a run that goes on: the saved one, with what may change put over it.

    Longer than planned, the schedule is from there on that of the longer run; what is done is not done again.

    Args:
        saved: As the run began, or went on last.
        overrides: Settings by field name; those that may not change have to be what they are.

    Raises:
        ValueError: A setting contradicts the run's.
    """
    settings = _flatten(saved)
    for name, value in overrides.items():
        current = settings.get(name, getattr(TrainConfig, name, getattr(type(saved.model), name, None)))
        if name in GROWING and value is None:
            continue
        if name in GROWING and current is None:
            raise ValueError(f"{name} cannot be given: the run counts its length in {_other(GROWING, name)}")
        if name in GROWING and value < current:
            raise ValueError(f"{name} can only grow when a run goes on: it is {current}, and {value} is less")
        if name not in (*GROWING, *FREE) and value != current:
            raise ValueError(f"a run goes on as it began: its {name} is {_shown(current)}, not {_shown(value)}")
    new = {k: v for k, v in overrides.items() if k in FREE or (k in GROWING and v is not None)}
    return replace(saved, train=replace(saved.train, **new))


def _other(pair: tuple[str, ...], name: str) -> str:
    return next(one for one in pair if one != name)


def _shown(value: object) -> str:
    if value is None:
        return "left out"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _flatten(config: RunConfig) -> dict[str, Any]:
    tables = config.to_dict()
    return {k: v for table in tables.values() for k, v in table.items() if k != "kind"}


def _preset(kind: ModelKind, name: PresetName, overrides: Settings) -> dict[str, Any]:
    settings = dict(PRESETS[kind][name])
    if WINDOWS & overrides.keys() or len(overrides.get("channels", ())) not in (0, len(settings.get("channels", ()))):
        settings.pop(
            "padding", None
        )  # without it, other windows than the preset's own may leave nothing of a feature map
    return settings


def _without_dependents(base: Settings, overrides: Settings) -> dict[str, Any]:
    dropped: set[str] = set()
    for choice, dependents in DEPENDENTS.items():
        current = base.get(choice, getattr(TrainConfig, choice, getattr(CNNConfig, choice, None)))
        if choice == "pool" and "none" not in (current, overrides.get(choice)):
            continue  # max and average pooling have the same windows
        if choice in overrides and overrides[choice] != current:
            dropped.update(dependents)
    if overrides.get("momentum") == 0:
        dropped.add("nesterov")
    if "channels" in overrides and len(overrides["channels"]) != len(base.get("channels", ())):
        dropped.update(name for name in PER_BLOCK if isinstance(base.get(name), tuple))  # they fit other blocks
    if "hidden_sizes" in overrides and "channels" not in base:
        if not overrides["hidden_sizes"]:
            dropped.update(("activation", "dropout", "batch_norm"))
        elif base.get("hidden_sizes") == ():
            dropped.add("activation")  # identity, which stood for none
    return {name: value for name, value in base.items() if name not in dropped}


def _with_defaults(kind: ModelKind, settings: dict[str, Any]) -> dict[str, Any]:
    choices: dict[str, Any] = {
        **OPTIMIZER_DEFAULTS.get(settings.get("optimizer", TrainConfig.optimizer), {}),
        **SCHEDULE_DEFAULTS.get(settings.get("schedule", TrainConfig.schedule), {}),
    }
    if kind == "cnn":
        choices |= POOL_DEFAULTS.get(settings.get("pool", CNNConfig.pool), {})
    elif not settings.get("hidden_sizes", MLPConfig.hidden_sizes):
        choices["activation"] = "identity"
    filled = choices | settings
    if filled.get("pool_size") is not None:
        filled.setdefault("pool_stride", filled["pool_size"])
    if "nesterov" not in settings and filled.get("nesterov") and not filled["momentum"]:
        filled["nesterov"] = False
    return filled


def _split(kind: ModelKind, settings: Settings) -> RunConfig:
    model_class: type[ModelConfig] = MLPConfig if kind == "mlp" else CNNConfig
    in_model = {f.name for f in fields(model_class)}
    in_train = {f.name for f in fields(TrainConfig)}
    if unknown := set(settings) - in_model - in_train:
        raise ValueError(f"{min(unknown)} has no meaning for a network of kind {kind}")
    model = build(model_class, {k: v for k, v in settings.items() if k in in_model})
    return RunConfig(model=model, train=build(TrainConfig, {k: v for k, v in settings.items() if k in in_train}))
