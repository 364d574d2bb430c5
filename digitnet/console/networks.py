"""Networks for people: the training, distilling or adapting that made one, and what it is made of."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet.config import REJECT_RATE
from digitnet.console.tables import (
    NAME_WIDTH,
    WIDE,
    new_table,
    print_commands,
    print_pairs,
    print_table,
    terminal_width,
    wrapped,
)
from digitnet.errors import printable
from digitnet.runs import BEST

if TYPE_CHECKING:
    from digitnet.adapting import AdaptResult
    from digitnet.calibration import Calibration
    from digitnet.checkpoint import Adaptation, Checkpoint, Distillation
    from digitnet.journal import Ending
    from digitnet.summary import Layer

STOPS = {
    "epochs": "trained to the end",
    "patience": "no better validation loss for --patience epochs",
    "until-accuracy": "--until-accuracy reached",
    "time-budget": "--time-budget used up",
}


def print_run(folder: Path, checkpoint: Checkpoint, ending: Ending, data_dir: Path | None) -> None:
    """Sum up a run: what came of it, where it is, and what to type next."""
    record, path, program = checkpoint.record, folder / BEST, os.environ.get("DIGITNET_PROG", "digitnet")
    parameters = sum(p.numel() for p in checkpoint.build().parameters())
    data = f" --data-dir {shlex.quote(str(data_dir))}" if data_dir else ""
    print_pairs(
        ("network", f"{checkpoint.config.kind}, {parameters:,} parameters"),
        (
            "data",
            f"{record.dataset}: {record.train_size:,} images, and {record.validation_size:,} for validation",
        ),
        (
            "best",
            f"epoch {record.epoch} of {ending.epoch}, validation accuracy {record.validation_accuracy:.2%}",
        ),
        (
            "time",
            f"{ending.elapsed_s:.1f} s on {record.device} in {record.precision}; {STOPS[ending.stop]}",
        ),
        ("saved", str(path)),
    )
    print_commands(
        f"{program} eval --checkpoint {shlex.quote(str(folder))}{data}",
        f"{program} predict --checkpoint {shlex.quote(str(folder))} YOUR_PICTURE.png",
    )


def print_curves(path: Path | None) -> None:
    """Say where the curves of a run are, or how to get them."""
    print_pairs(
        ("curves", str(path) if path else "not drawn: matplotlib is missing; get it by: pip install matplotlib")
    )


def print_adaptation(path: Path | None, adaptation: Adaptation, result: AdaptResult, pictures: Sequence[Path]) -> None:
    """Sum up what adapting came to: the hand and the validation images before and after, and what to type next."""
    program, count = os.environ.get("DIGITNET_PROG", "digitnet"), result.pictures
    before, after = result.validation_before, result.validation_after
    gain = "" if result.after > result.before else "; no gain is shown"
    print_pairs(
        ("pictures", f"{adaptation.dataset}: {count:,}"),
        ("your hand", f"{result.before / count:.2%} before, {result.after / count:.2%} after, each picture read by"),
        ("", f"a network adapted without it, in {len(result.folds)} parts{gain}"),
        ("learnt", f"{result.learnt / count:.2%} after, of the pictures it has learnt: no measure of new ones"),
        ("validation", f"{before.accuracy:.2%} before, {after.accuracy:.2%} after, on {adaptation.rehearsal}"),
        *_misread_pairs(result, pictures),
        ("time", f"{result.elapsed_s:.1f} s, {adaptation.steps} steps for each of {len(result.folds) + 1} networks"),
        ("saved", str(path) if path else "nothing"),
    )
    if path:
        print_commands(f"{program} predict --checkpoint {shlex.quote(str(path.parent))} YOUR_PICTURE.png")


def _misread_pairs(result: AdaptResult, pictures: Sequence[Path]) -> list[tuple[str, str]]:
    """Name each picture that is read wrongly before or after, with what it was read as."""
    found = [(path, reading) for path, reading in zip(pictures, result.readings, strict=True) if reading.misread]
    return [
        ("" if index else "misread", f"{path}: a {r.label}, read as {r.before} before, {r.after} after")
        for index, (path, r) in enumerate(found)
    ]


def print_info(checkpoint: Checkpoint, layers: list[Layer]) -> None:
    """Show what a checkpoint is made of and how it came about."""
    table = new_table("layer", "kind", "output", "parameters", "multiply-adds")
    table.columns[1].justify = "left"
    for layer in layers:
        shape = "x".join(map(str, layer.output_shape))
        table.add_row(layer.name, layer.kind, shape, f"{layer.parameters:,}", f"{layer.multiply_adds:,}")
    table.add_section()
    parameters, multiply_adds = sum(x.parameters for x in layers), sum(x.multiply_adds for x in layers)
    table.add_row("in all", "", "", f"{parameters:,}", f"{multiply_adds:,}")
    print_table(table)
    r = checkpoint.record
    began, epoch = ("begun as", f"epoch {r.epoch}") if r.distillation else ("best epoch", f"{r.epoch}")
    where = f", on {r.adaptation.rehearsal}" if r.adaptation else ""  # which stands in for data that was missing
    print_pairs(
        (
            "data",
            f"{r.dataset} ({r.fingerprint}): {r.train_size:,} images, and {r.validation_size:,} for validation",
        ),
        (
            began,
            f"{epoch}, after {r.step:,} steps and {r.elapsed_s:.1f} s on {r.device} in {r.precision}",
        ),
        ("validation", f"accuracy {r.validation_accuracy:.2%}, loss {r.validation_loss:.4f}{where}"),
        ("calibrated", _calibration_line(checkpoint.calibration)),
        ("made with", f"digitnet {r.digitnet}, torch {r.torch}"),
    )
    if d := r.distillation:
        _print_wrapped("distilled", _distillation_line(d, r.dataset))
    if a := r.adaptation:
        print_pairs(("adapted", f"from {a.source} to {a.size:,} pictures of {a.dataset}, rehearsing {a.rehearsal}"))
    for name, settings in checkpoint.config.to_dict().items():
        _print_wrapped(name, ", ".join(f"{key} {_setting(value)}" for key, value in settings.items()))


def _distillation_line(d: Distillation, dataset: str) -> str:
    rule = f"epoch {d.epoch} of {d.epochs}, rate {d.learning_rate:g}, seed {d.seed}"
    done = f"{d.steps:,} steps in {d.elapsed_s:.1f} s ({rule})"
    experts = f"; and, on images of {dataset}, those of {d.experts}" if d.experts else ""
    return f"from {d.source}, {done}, by the answers of {d.teachers}{experts}"


def _print_wrapped(name: str, value: str) -> None:
    print(wrapped(f"{name:<{NAME_WIDTH}}{printable(value)}", NAME_WIDTH, min(terminal_width(), WIDE - 1)))


def _calibration_line(calibration: Calibration) -> str:
    needed = calibration.thresholds.score(REJECT_RATE)
    return f"temperature {calibration.temperature:.3f}; {REJECT_RATE:.0%} of its digits score under {needed:.2f}"


def _setting(value: object) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
