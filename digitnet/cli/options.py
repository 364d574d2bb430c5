"""Options that several commands share, and the parsing of values that are more than a number or a name."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from digitnet.config import DeviceName, PrecisionName
from digitnet.errors import UsageError


def choices(names: Any) -> str:
    """Name the choices of a ``Literal`` in a help text."""
    *others, last = get_args(names)
    return f"{', '.join(others)} or {last}"


CHECKPOINT_HELP = (
    "A checkpoint file, a run folder, a run's name, pretrained-cnn or pretrained-mlp. "
    "Left out: the newest run in ./checkpoints, else pretrained-cnn."
)
CheckpointOption = Annotated[str | None, typer.Option(metavar="REF", help=CHECKPOINT_HELP)]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of MNIST's four IDX files, plain or .gz, or with them in MNIST/raw. "
        "Left out: DIGITNET_DATA_DIR, else downloaded once.",
        rich_help_panel="Data",
    ),
]
DeviceOption = Annotated[
    DeviceName, typer.Option(metavar="NAME", help=f"{choices(DeviceName)}; auto takes a GPU where there is one.")
]
ReadingPrecisionOption = Annotated[
    PrecisionName,
    typer.Option(
        "--precision",
        metavar="NAME",
        help=f"{choices(PrecisionName)}; bf16 is faster where the hardware multiplies in it, as auto finds out, and "
        "probabilities are right to two digits.",
    ),
]


def parse_sizes(text: str, option: str) -> tuple[int, ...]:
    """Parse ``512,256``; ``none`` and the empty text are no sizes at all.

    Raises:
        UsageError: There is something else than whole numbers between the commas.
    """
    if text.strip().lower() in ("", "none"):
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} takes whole numbers with commas between, such as 64,32, not {text!r}") from None


def parse_numbers(text: str, option: str, example: str) -> tuple[float, ...]:
    """Parse numbers such as the example, ``0.9,0.999``.

    Raises:
        UsageError: There is something else than numbers between the commas.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} takes numbers with a comma between, such as {example}, not {text!r}") from None


def parse_learning_rate(text: str, option: str) -> float:
    """Parse a learning rate; its range is the configuration's to check.

    Raises:
        UsageError: It is no number.
    """
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{option} takes a number such as 0.01, or auto, not {text!r}") from None


def parse_share(text: str, option: str) -> float:
    """Parse an accuracy: ``0.993`` or ``99.3%``, in (0, 1].

    Raises:
        UsageError: It is no number above 0 and up to 100 %.
    """
    share = _share(text)
    if share is None or not 0 < share <= 1:  # 2 is refused: 1 would be all of them, and 2 only 2 in a hundred
        raise UsageError(f"{option} takes an accuracy such as 0.993 or 99.3%, not {text!r}")
    return share


def parse_rate(text: str, option: str) -> float:
    """Parse a share that may be nothing: ``0.01``, ``1%`` or ``0``, in [0, 1].

    Raises:
        UsageError: It is no number from 0 to 100 %.
    """
    share = _share(text)
    if share is None or share > 1 or text.strip() == "1":  # 1 may mean one in a hundred, or all of them
        raise UsageError(f"{option} takes a share such as 0.01 or 1%, from 0 to 100%, not {text!r}")
    return share


def _share(text: str) -> float | None:
    match = re.fullmatch(r"\s*(\d*\.?\d+)\s*(%?)\s*", text)
    return float(match[1]) / (100 if match[2] else 1) if match else None


def parse_seconds(text: str, option: str) -> float:
    """Parse a duration such as ``90``, ``90s``, ``1.5m`` or ``1h30m``.

    Raises:
        UsageError: It is none, or not above 0.
    """
    number = r"(?:(\d*\.?\d+)\s*{})?\s*"
    match = re.fullmatch(r"\s*" + number.format("h") + number.format("m") + number.format("s?"), text)
    hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    if (total := hours * 3600 + minutes * 60 + seconds) > 0:
        return total
    raise UsageError(f"{option} takes a duration such as 60s, 1.5m or 1h, not {text!r}")


def parse_save_every(text: str, option: str) -> tuple[int | None, float | None]:
    """Parse a number of steps such as ``500``, or a duration such as ``30s``.

    Returns:
        Steps, or None; and seconds, or None.

    Raises:
        UsageError: It is neither, or not above 0.
    """
    if re.fullmatch(r"\s*0*[1-9][0-9]{0,17}\s*", text):
        return int(text), None
    if re.search("[hms]", text):
        return None, parse_seconds(text, option)
    raise UsageError(f"{option} takes a number of steps such as 500, or a duration such as 30s, not {text!r}")


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on stdout, arrays as lists; null for infinity and NaN, which JSON has not."""
    typer.echo(json.dumps(_plain(document), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    """Make of a value what JSON has."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
