"""Every choice that a run is made of: the names to choose from and the two configurations.

Standard library only, so that ``digitnet --help`` and a wrong option cost no import of torch. The presets and the
way from options to a configuration are in ``recipes.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar, get_type_hints

from digitnet.errors import brief
from digitnet.values import check, check_only, read_value

ModelKind = Literal["mlp", "cnn"]
ActivationName = Literal["relu", "gelu", "silu", "tanh", "sigmoid", "identity"]
PaddingName = Literal["same", "valid"]
PoolName = Literal["max", "avg", "none"]
LossName = Literal["cross-entropy", "bce", "mse", "mae"]
OptimizerName = Literal["sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamw"]
ScheduleName = Literal["constant", "step", "cosine", "one-cycle", "trapezoid"]
AugmentName = Literal["none", "affine", "elastic", "all"]
OnNanName = Literal["stop", "rollback"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
PrecisionName = Literal["auto", "fp32", "bf16"]

IMAGE_SIZE = 28  # side of an image, in pixels
NUM_CLASSES = 10
REJECT_RATE = 0.01  # share of real digits that may be turned away with what is none
MAX_COUNT = 1_000_000_000  # of epochs, steps or images
MAX_DRAWN = 2_000_000  # images drawn from strokes: 1.6 GB of them
SHUFFLE_BLOCK = 1_024  # consecutive images that stay together where a window is shuffled: 0.8 MB, read in one go
SHUFFLE_WINDOW = 262_144  # images of shards that are shuffled together, unless an option says otherwise: 0.2 GB
PerBlock = int | tuple[int, ...]  # one number for all blocks, or one for each
MAX_SIZE = 65_536  # units or channels of a layer, and
MAX_DEPTH = 100  # layers: more fits no machine, and a file that asks for it is damaged


@dataclass(frozen=True, kw_only=True)
class MLPConfig:
    """A stack of dense layers."""

    hidden_sizes: tuple[int, ...] = (512, 256)
    """Units of each hidden layer; none at all is a single linear layer."""
    activation: ActivationName = "relu"
    dropout: float = 0.0
    """Share of hidden units set to zero in training, in [0, 1)."""
    batch_norm: bool = False

    def __post_init__(self) -> None:
        _check_head(self.hidden_sizes, self.dropout)
        if not self.hidden_sizes and (self.activation != "identity" or self.dropout or self.batch_norm):
            raise ValueError("activation, dropout and batch_norm need a hidden layer, and hidden_sizes has none")


@dataclass(frozen=True, kw_only=True)
class CNNConfig:
    """A base of convolutional blocks and a head of dense layers."""

    channels: tuple[int, ...] = (32, 64)
    """Kernels (feature maps) of each block."""
    convs_per_block: int = 1
    kernel_size: PerBlock = 3
    """Side of a kernel, in pixels: 3, 5 or 7."""
    stride: PerBlock = 1
    """Step of the first convolution of a block; the others of the block have stride 1."""
    padding: PaddingName = "same"
    """same: half a kernel of zeros on each side; valid: none."""
    pool: PoolName = "max"
    pool_size: PerBlock | None = None
    """Side of the pooling window; 1, with a step of 1, leaves a block without pooling; None with pool none."""
    pool_stride: PerBlock | None = None
    """Step of the pooling window; None with pool none."""
    hidden_sizes: tuple[int, ...] = ()
    """Units of each hidden dense layer of the head."""
    activation: ActivationName = "relu"
    dropout: float = 0.0
    """Share of the inputs of each dense layer set to zero in training, in [0, 1)."""
    batch_norm: bool = True

    def __post_init__(self) -> None:
        _check_head(self.hidden_sizes, self.dropout)
        fits = len(self.channels) > 0 and all(1 <= size <= MAX_SIZE for size in self.channels)
        check(len(self.channels) <= MAX_DEPTH, "channels", f"at most {MAX_DEPTH} blocks", self.channels)
        check(fits, "channels", f"one or more numbers from 1 to {MAX_SIZE}", self.channels)
        check(1 <= self.convs_per_block <= MAX_DEPTH, "convs_per_block", f"1 to {MAX_DEPTH}", self.convs_per_block)
        self._check_windows()
        self.feature_map_sizes()

    def _check_windows(self) -> None:
        for name in PER_BLOCK:
            value = getattr(self, name)
            if self.pool == "none" and name.startswith("pool"):
                check(value is None, name, "left out with pool none", value)
                continue
            sizes = (value,) if isinstance(value, int) else value or ()
            check(len(sizes) > 0 and min(sizes) >= 1, name, "at least 1", value)
            check(max(sizes) <= IMAGE_SIZE, name, f"at most {IMAGE_SIZE}", value)
            fits = isinstance(value, int) or len(sizes) == len(self.channels)
            check(fits, name, f"one number, or one for each of the {len(self.channels)} blocks", value)
        kernels = set(self.per_block("kernel_size"))
        check(kernels <= {3, 5, 7}, "kernel_size", "3, 5 or 7", self.kernel_size)

    def per_block(self, name: str) -> tuple[int, ...]:
        """Return a setting of ``PER_BLOCK`` as one number for each block; without pooling, windows of 1."""
        value = getattr(self, name)
        return value if isinstance(value, tuple) else (1 if value is None else value,) * len(self.channels)

    def feature_map_sizes(self) -> dict[str, int]:
        """Map the name of each convolution and pooling layer to the side of the feature maps it makes, in pixels.

        Raises:
            ValueError: A layer's window is larger than what it gets.
        """
        sizes: dict[str, int] = {}
        size = IMAGE_SIZE
        windows = zip(*(self.per_block(name) for name in PER_BLOCK), strict=True)
        for block, (kernel, step, pool, pool_step) in enumerate(windows, start=1):
            for conv in range(1, self.convs_per_block + 1):
                margin = kernel // 2 if self.padding == "same" else 0
                size = _slide(f"block{block}.conv{conv}", size, kernel, step if conv == 1 else 1, margin)
                sizes[f"block{block}.conv{conv}"] = size
            if pool > 1 or pool_step > 1:
                size = _slide(f"block{block}.pool", size, pool, pool_step, 0)
                sizes[f"block{block}.pool"] = size
        return sizes


ModelConfig = MLPConfig | CNNConfig
PER_BLOCK = ("kernel_size", "stride", "pool_size", "pool_stride")
COUNTS = ("train_size", "shuffle_window", "epochs", "steps", "batch_size", "step_epochs", "patience")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What a network is trained on and by which rule."""

    dataset: str = "mnist"
    """mnist, strokes, or a folder."""
    train_size: int | None = None
    """Use only so many training images; of strokes, draw so many. None is all of them."""
    extra_strokes: int = 0
    """Add so many digits drawn from strokes to the training images."""
    nondigits: int = 0
    """Train on so many drawings that are no digits, too, to tell them from digits."""
    shuffle_window: int | None = None
    """Shuffle so many images together, blocks of ``SHUFFLE_BLOCK`` of them in random order; None is all of them."""
    augment: AugmentName = "none"
    epochs: int | None = None
    """Passes over the training images; None where steps are given instead."""
    steps: int | None = None
    """Updates to train for, however many passes that is; None where epochs are given."""
    batch_size: int = 256
    loss: LossName = "cross-entropy"
    label_smoothing: float = 0.0
    """Share of the target spread over all classes, in [0, 1); cross-entropy and bce only."""
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 2e-3
    momentum: float | None = None
    """In [0, 1); sgd and rmsprop only."""
    nesterov: bool | None = None
    """sgd only."""
    betas: tuple[float, ...] | None = None
    """How much of their past the two running means keep, each in [0, 1); adam and adamw only."""
    weight_decay: float = 0.0
    weight_average: float | None = None
    """Keep a running mean of the weights, with so much of its past at each step, in [0, 1), and save that."""
    schedule: ScheduleName = "one-cycle"
    warmup: float | None = None
    """Share of all steps over which the learning rate rises, in [0, 1); cosine, one-cycle and trapezoid only."""
    cooldown: float | None = None
    """Share of all steps over which the learning rate falls, at the end, in [0, 1); trapezoid only."""
    step_epochs: int | None = None
    """Epochs between two falls of the learning rate; step only."""
    step_factor: float | None = None
    """What the learning rate is multiplied by at each fall, in (0, 1); step only."""
    max_grad_norm: float | None = None
    """Scale gradients down to this norm, of all of them together, where it is larger."""
    on_nan: OnNanName = "stop"
    """When the loss or a weight is no finite number: stop, or go back to the last good state, at half the rate."""
    patience: int | None = None
    """Stop after so many epochs without a better validation loss."""
    until_accuracy: float | None = None
    """Stop once the validation accuracy is reached, in (0, 1]."""
    time_budget_s: float | None = None
    """Stop after so many seconds of training."""
    seed: int = 0
    deterministic: bool = False
    """Use only algorithms that give the same bits each time, and fail where there is none."""
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_dependents()

    def _check_numbers(self) -> None:
        for name in COUNTS:
            value = getattr(self, name)
            check(value is None or value >= 1, name, "at least 1", value)
            check(value is None or value <= MAX_COUNT, name, f"at most {MAX_COUNT}", value)
        for name in ("extra_strokes", "nondigits"):
            check(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
            check(getattr(self, name) <= MAX_DRAWN, name, f"at most {MAX_DRAWN}", getattr(self, name))
        for name in ("learning_rate", "time_budget_s", "max_grad_norm"):
            value = getattr(self, name)
            check(value is None or 0 < value < math.inf, name, "a finite number above 0", value)
        for name in ("label_smoothing", "momentum", "warmup", "cooldown", "weight_average"):
            value = getattr(self, name)
            check(value is None or 0 <= value < 1, name, "at least 0 and below 1", value)
        window = self.shuffle_window is None or self.shuffle_window >= SHUFFLE_BLOCK
        check(window, "shuffle_window", f"at least {SHUFFLE_BLOCK}", self.shuffle_window)
        falls = self.step_factor is None or 0 < self.step_factor < 1
        check(falls, "step_factor", "between 0 and 1", self.step_factor)
        if self.betas is not None:
            fits = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
            check(fits, "betas", "two numbers, each at least 0 and below 1", self.betas)
        check(0 <= self.weight_decay < math.inf, "weight_decay", "at least 0", self.weight_decay)
        reachable = self.until_accuracy is None or 0 < self.until_accuracy <= 1
        check(reachable, "until_accuracy", "above 0 and at most 1", self.until_accuracy)
        check(0 <= self.seed < 2**63, "seed", "a whole number from 0", self.seed)

    def _check_dependents(self) -> None:
        if self.epochs is None and self.steps is None:
            raise ValueError("how long to train is not said: give epochs or steps")
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps are both given; leave one of them out")
        check_only(self.label_smoothing != 0, "label_smoothing", "loss", self.loss, ("cross-entropy", "bce"))
        check_only(self.momentum is not None, "momentum", "optimizer", self.optimizer, ("sgd", "rmsprop"))
        check_only(self.betas is not None, "betas", "optimizer", self.optimizer, ("adam", "adamw"))
        check_only(self.nesterov is not None, "nesterov", "optimizer", self.optimizer, ("sgd",))
        check_only(self.warmup is not None, "warmup", "schedule", self.schedule, ("cosine", "one-cycle", "trapezoid"))
        check_only(self.cooldown is not None, "cooldown", "schedule", self.schedule, ("trapezoid",))
        check_only(self.step_epochs is not None, "step_epochs", "schedule", self.schedule, ("step",))
        check_only(self.step_factor is not None, "step_factor", "schedule", self.schedule, ("step",))
        if self.schedule == "step" and (self.step_epochs is None or self.step_factor is None):
            raise ValueError("schedule step needs step_epochs and step_factor")
        if (self.warmup or 0) + (self.cooldown or 0) > 1:
            raise ValueError(f"warmup and cooldown are {self.warmup} and {self.cooldown}, together more than all steps")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return how many updates there will be, if nothing stops training sooner."""
        return self.steps if self.steps is not None else (self.epochs or 0) * steps_per_epoch


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A network and its training: all that is needed to repeat a run."""

    model: ModelConfig
    train: TrainConfig

    def __post_init__(self) -> None:
        if self.model.batch_norm and self.train.batch_size < 3:
            # A batch of 2 can leave one image over, and the spread of one image is no number.
            raise ValueError(f"batch_norm needs a batch_size of at least 3, not {self.train.batch_size}")
        if self.model.batch_norm and self.train.train_size == 1:
            raise ValueError("batch_norm needs a train_size of at least 2, not 1")

    @property
    def kind(self) -> ModelKind:
        """The kind of network."""
        return "mlp" if isinstance(self.model, MLPConfig) else "cnn"

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return plain values in two tables, ``model`` and ``train``; what is None is left out."""
        tables = {"model": {"kind": self.kind, **asdict(self.model)}, "train": asdict(self.train)}
        return {name: {k: v for k, v in table.items() if v is not None} for name, table in tables.items()}

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any]) -> RunConfig:
        """Rebuild a configuration from what ``to_dict`` returned, trusting nothing.

        Raises:
            ValueError: A table, a name or a value is unknown, missing or of the wrong type.
        """
        if not isinstance(tables, Mapping):
            raise ValueError("a configuration is two tables, [model] and [train]")
        for name in ("model", "train"):
            if not isinstance(tables.get(name), Mapping):
                raise ValueError(f"the table [{name}] is missing")
        if unknown := set(tables) - {"model", "train"}:
            raise ValueError(f"unknown table [{brief(min(unknown))}]; there are [model] and [train]")
        model = dict(tables["model"])
        kind = read_value("kind", ModelKind, model.pop("kind", None))
        model_class: type[ModelConfig] = MLPConfig if kind == "mlp" else CNNConfig
        return cls(model=build(model_class, model), train=build(TrainConfig, tables["train"]))


ConfigT = TypeVar("ConfigT", bound=MLPConfig | CNNConfig | TrainConfig)


def build(config_class: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Build a configuration from plain values, checking each name and type.

    Raises:
        ValueError: A name is unknown, or a value is of the wrong type or out of range.
    """
    hints = get_type_hints(config_class)
    if unknown := set(values) - {f.name for f in fields(config_class)}:
        raise ValueError(f"{brief(min(unknown))} is not a setting of {config_class.__name__.removesuffix('Config')}")
    return config_class(**{name: read_value(name, hints[name], value) for name, value in values.items()})


def _check_head(hidden_sizes: tuple[int, ...], dropout: float) -> None:
    fits = all(1 <= size <= MAX_SIZE for size in hidden_sizes)
    check(len(hidden_sizes) <= MAX_DEPTH, "hidden_sizes", f"at most {MAX_DEPTH} layers", hidden_sizes)
    check(fits, "hidden_sizes", f"numbers from 1 to {MAX_SIZE}", hidden_sizes)
    check(0 <= dropout < 1, "dropout", "at least 0 and below 1", dropout)


def _slide(layer: str, size: int, window: int, stride: int, margin: int) -> int:
    """Return the side of what a window sliding over ``size`` pixels makes.

    Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), relationship 6.
    """
    if window > size + 2 * margin:
        raise ValueError(
            f"nothing is left of the feature map: {layer} has a {window}x{window} window and gets {size}x{size} "
            "pixels; try padding same, less pooling, a smaller stride or fewer blocks"
        )
    return (size + 2 * margin - window) // stride + 1
