"""The checkpoint file: weights and all that is needed to use and to judge them. Data, never code.

A safetensors file whose metadata holds one JSON document under the key ``digitnet``. Which file to open when a person
names a run, or nothing at all, is the business of ``runs.py``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from digitnet.atomic import write_atomically
from digitnet.calibration import Calibration
from digitnet.config import NUM_CLASSES, RunConfig
from digitnet.container import check_container, unique_names
from digitnet.errors import CheckpointError, brief
from digitnet.models import DigitNet, build_model
from digitnet.rejection import Thresholds

# Since 2, features reach the head pixel by pixel, and pooling comes before normalisation; 3 brought the calibration,
# and 4 settings that an older digitnet does not know.
FORMAT = 4
OLDEST_FORMAT = 3  # from which on all are read
MAX_TEXT = 5_000  # characters; a path may have 4,096
MAX_NUMBER = 2**63
SMALLEST_STD = 1e-7  # a tenth of what blank images are given
Made = TypeVar("Made", "Adaptation", "Distillation")
DTYPES = {torch.float32: "F32", torch.int64: "I64"}  # as safetensors calls those that a network has


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """How ``digitnet adapt`` made a network of another one."""

    source: str
    """The checkpoint that it was made of: a path, or the name of one that ships."""
    dataset: str
    """The folder of the pictures."""
    fingerprint: str
    """Of the pictures."""
    size: int
    """How many they were."""
    rehearsal: str
    """The data set that was rehearsed; the record's validation figures are of this one."""
    held_out_accuracy: float
    """Of pictures read by networks that had not learnt them."""
    steps: int
    learning_rate: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How ``scripts/distil`` made a network of another one; the record's validation figures are of the one it made."""

    source: str
    """The checkpoint that it was made of, as it was named."""
    teachers: str
    """Those that it learnt from, as they were named, quoted as in a shell."""
    experts: str
    """Those that it learnt from on the data set's own images alone, likewise."""
    epoch: int
    """The one with the lowest validation loss."""
    epochs: int
    """That the schedule was made for."""
    steps: int
    """Up to that epoch's end."""
    elapsed_s: float
    """Likewise; the record's own epoch, steps and time are the source's."""
    learning_rate: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """How the weights came about."""

    dataset: str
    fingerprint: str
    """Of the whole training part, validation images included."""
    train_size: int
    validation_size: int
    split_hash: str
    """Of the indices of the validation images."""
    epoch: int
    step: int
    validation_loss: float
    validation_accuracy: float
    elapsed_s: float
    device: str
    precision: str
    digitnet: str
    """Version of the program."""
    torch: str
    """Version of PyTorch."""
    adaptation: Adaptation | None = None
    """None for a network as it was trained."""
    distillation: Distillation | None = None
    """None for a network that no other one taught."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained network, as it is stored."""

    config: RunConfig
    record: TrainingRecord
    calibration: Calibration
    state: Mapping[str, Tensor]
    """Parameters and buffers by name, on the CPU."""

    def build(self) -> DigitNet:
        """Build the network with these weights, on the CPU, ready to evaluate."""
        model = build_model(self.config.model)
        model.load_state_dict(dict(self.state))
        return model.eval()


def save_checkpoint(
    path: Path, config: RunConfig, record: TrainingRecord, calibration: Calibration, model: DigitNet
) -> None:
    """Write a checkpoint; what was at ``path`` stays until the new file is whole.

    Raises:
        OSError: It could not be written.
    """
    classes = list(range(NUM_CLASSES))  # what each logit stands for
    parts = {"config": config.to_dict(), "record": asdict(record), "calibration": asdict(calibration)}
    document = {"format": FORMAT, "classes": classes, **parts}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(path, save(state, metadata={"digitnet": json.dumps(document)}))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; where another one takes its place meanwhile, as when training goes on, that one.

    Raises:
        CheckpointError: There is none, or it is not one of digitnet's; a pickle is refused unopened.
    """
    while True:
        before = _identity(path)
        try:
            checkpoint = _load(path)
        except CheckpointError:
            if _identity(path) == before:
                raise
        else:
            # safetensors opens a file by its name, and once more for the weights: they may be of another network.
            if _identity(path) == before:
                return checkpoint


def _identity(path: Path) -> tuple[int, ...] | None:
    """Tell a file from others that had its name, or have it later; None where there is none."""
    try:
        state = path.stat()
    except (OSError, ValueError):  # reading it will say what is wrong
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _load(path: Path) -> Checkpoint:
    check_container(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "digitnet_state" in metadata:
                raise CheckpointError(f"{path} is the state of a run; its network is best.safetensors beside it")
            config, record, calibration = _read_document(path, metadata.get("digitnet"))
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            _check_tensors(path, config, {n: (tuple(s.get_shape()), s.get_dtype()) for n, s in slices.items()})
            state = {name: file.get_tensor(name) for name in slices}
            _check_numbers(path, state)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged: {brief(error)}") from error
    return Checkpoint(config=config, record=record, calibration=calibration, state=state)


def _read_document(path: Path, text: str | None) -> tuple[RunConfig, TrainingRecord, Calibration]:
    if text is None:
        raise CheckpointError(f"{path} is a safetensors file, but none that digitnet train wrote")
    try:
        document = json.loads(text, object_pairs_hook=unique_names)
        if type(document["format"]) is not int:  # 3.0 and true are numbers to Python
            kind = type(document["format"]).__name__
            raise ValueError(f"its format number is no whole number, but {kind}")
        if not OLDEST_FORMAT <= document["format"] <= FORMAT:
            advice = (
                "a newer digitnet wrote it"
                if document["format"] > FORMAT
                else "train the network again, or use --checkpoint pretrained-cnn"
            )
            found = f"{path} has format {document['format']}, and this digitnet reads {OLDEST_FORMAT} to {FORMAT}"
            raise CheckpointError(f"{found}; {advice}")
        config = RunConfig.from_dict(document["config"])
        return config, _read_record(document["record"]), _read_calibration(document["calibration"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its description is damaged: {brief(error)}") from error


def _read_record(values: Mapping[str, Any]) -> TrainingRecord:
    return TrainingRecord(
        **_read_fields(TrainingRecord, values),
        adaptation=_read_if_any(Adaptation, values.get("adaptation")),
        distillation=_read_if_any(Distillation, values.get("distillation")),
    )


def _read_if_any(kind: type[Made], values: Mapping[str, Any] | None) -> Made | None:
    """Read how another network was made into this one; networks as they were trained need not say that they are."""
    return kind(**_read_fields(kind, values)) if values else None


def _read_fields(kind: type[TrainingRecord | Adaptation | Distillation], values: Mapping[str, Any]) -> dict[str, Any]:
    """Read a dataclass's required fields, which are plain values, each of the type it is declared with."""
    kinds = {"str": str, "int": int, "float": float}
    required = [field for field in fields(kind) if field.default is MISSING]
    for field in required:
        value = values[field.name]
        if type(value) is not kinds[str(field.type)] or not _is_likely(field.name, value):
            raise ValueError(f"{field.name} is {value!r}")
    return {field.name: values[field.name] for field in required}


def _is_likely(name: str, value: Any) -> bool:
    """Say whether a record may hold a value of the right type: what a run can come to, and a person can read."""
    if isinstance(value, str):
        return len(value) <= MAX_TEXT
    if name.endswith("accuracy"):
        return bool(0 <= value <= 1)
    return name.endswith("loss") or bool(0 <= value < MAX_NUMBER)  # a loss may be no number


def _read_calibration(values: Mapping[str, Any]) -> Calibration:
    grid = values["thresholds"]
    numbers = [values["temperature"], *grid["rates"], *grid["scores"]]
    if wrong := [number for number in numbers if type(number) is not float or not math.isfinite(number)]:
        raise ValueError(f"calibration holds {wrong[0]!r}")
    thresholds = Thresholds(rates=tuple(grid["rates"]), scores=tuple(grid["scores"]))
    return Calibration(temperature=numbers[0], thresholds=thresholds)


def _check_tensors(path: Path, config: RunConfig, found: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
    """Compare the tensors in the file with those of the network it describes, before either takes memory."""
    with torch.device("meta"):
        state = build_model(config.model).state_dict()
    expected = {name: (tuple(tensor.shape), DTYPES[tensor.dtype]) for name, tensor in state.items()}
    for name in sorted(expected.keys() | found.keys()):
        (wanted, dtype), (shape, stored) = (tensors.get(name, ("nothing", "")) for tensors in (expected, found))
        if wanted != shape:
            raise CheckpointError(
                f"{path}: {brief(name)} does not fit the network described: expected {wanted}, found {shape}"
            )
        if dtype != stored:
            raise CheckpointError(f"{path}: {name} is of type {stored}, and should be {dtype}")


def _check_numbers(path: Path, state: Mapping[str, Tensor]) -> None:
    """Refuse numbers that no training leaves behind, and by which no image would get an answer."""
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {name} holds numbers that are not finite")
        least = {"std": SMALLEST_STD, "running_var": 0.0}.get(name.rpartition(".")[2])
        if least is not None and tensor.min() < least:
            raise CheckpointError(f"{path}: {name} is {tensor.min().item():g}, which no spread of numbers is")
