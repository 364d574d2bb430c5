"""``python -m distil``, which ``scripts/distil`` runs: options, the networks, and the checkpoint that comes of them."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from digitnet import __version__
from digitnet.calibration import fit_calibration
from digitnet.checkpoint import Distillation, TrainingRecord, load_checkpoint, save_checkpoint
from digitnet.config import TrainConfig
from digitnet.data.load import load_training
from digitnet.device import choose_precision
from digitnet.errors import CheckpointError, DigitnetError, NotFiniteError, UsageError
from digitnet.evaluation import count, logits_of
from digitnet.losses import build_loss
from digitnet.metrics import Metrics
from digitnet.models import DigitNet
from digitnet.runs import find_checkpoint
from distil.distilling import CPU, EpochLoss, Teachers, distil, mean_network


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/distil",
        description="Train a network further to answer as the mean of several networks does, on the data set that it "
        "was trained on, and strokes and drawings that are new in each epoch. No label is learnt; validation chooses "
        "the epoch.",
    )
    add = parser.add_argument
    student = "the network to begin with, trained with --nondigits and --weight-average: a checkpoint or a run"
    add("student", metavar="REF", help=student)
    teachers = "a network to learn from; repeatable. Several, joined by commas, are one: the mean of their weights"
    add("--teacher", action="append", required=True, metavar="REF[,REF...]", help=teachers)
    expert = "a teacher trained on the data set's own images alone, heard on which digit they are; repeatable"
    add("--expert", action="append", default=[], metavar="REF[,REF...]", help=expert)
    output = "the checkpoint to write, or to replace: of the epoch with the lowest validation loss"
    add("--output", type=Path, required=True, metavar="FILE", help=output)
    add("--epochs", type=int, default=8, metavar="N", help="left out: %(default)s")
    add("--learning-rate", type=float, default=6e-4, metavar="RATE", help="at its highest; left out: %(default)s")
    add("--seed", type=int, default=0, metavar="N", help="left out: %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Distil, and say after each epoch how the validation images are read; return the exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        _run(options)
    except (DigitnetError, ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        if isinstance(error, DigitnetError):
            return error.exit_code
        return 2 if isinstance(error, ValueError) else 1
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; {options.output} is of the best epoch so far, if one had ended\n")
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    _check_output(options)
    checkpoint = load_checkpoint(_find(options.student))
    rule = distillation_rule(checkpoint.config.train, options.epochs, options.learning_rate, options.seed)
    train, validation = load_training(rule.dataset, size=rule.train_size)
    if train.mapped:
        raise UsageError(f"{train.name} is a set of shards; distil a network that was trained on a set held in memory")
    teachers = Teachers(heard=_networks(options.teacher), experts=_networks(options.expert))
    student, dtype, started = checkpoint.build(), choose_precision(rule.precision, CPU), time.monotonic()
    lowest = math.inf
    for done in distil(student, teachers, train, rule, dtype):
        logits = logits_of(student, validation.images)
        found = count(logits, validation.targets, build_loss(rule.loss))
        elapsed_s = time.monotonic() - started
        if not math.isfinite(done.loss + found.loss):
            raise NotFiniteError(f"epoch {done.epoch}: the loss is no number; try a lower --learning-rate")
        if best := found.loss < lowest:  # accuracy is the same for most epochs of networks this good
            lowest = found.loss
            record = _record(checkpoint.record, options, done, elapsed_s, found)
            calibration = fit_calibration(logits, validation.targets)
            save_checkpoint(options.output, checkpoint.config, record, calibration, student)
        sys.stdout.write(
            f"{done.epoch}/{options.epochs}  loss {done.loss:.4f}  validation loss {found.loss:.4f}, accuracy "
            f"{found.accuracy:.2%}  {elapsed_s:.0f} s{'  best' if best else ''}\n"
        )
        sys.stdout.flush()
    sys.stdout.write(f"saved {options.output}\n")


def _networks(options: Sequence[str]) -> list[DigitNet]:
    return [mean_network([_network(reference) for reference in option.split(",")]) for option in options]


def _network(reference: str) -> DigitNet:
    return load_checkpoint(_find(reference)).build()


def _find(reference: str) -> Path:
    try:
        return find_checkpoint(reference).path
    except CheckpointError as error:
        raise UsageError(f"there is no network {reference!r}: name a checkpoint, a run or one that ships") from error


def _check_output(options: argparse.Namespace) -> None:
    """Refuse an output that could not be written, or would replace what is read, before hours are spent on it."""
    output: Path = options.output
    if output.is_dir() or not output.parent.is_dir():
        raise UsageError(f"--output is the file to write, in a folder that is there, not {output}")
    taught = (reference for option in (*options.teacher, *options.expert) for reference in option.split(","))
    if output.exists() and any(output.samefile(_find(reference)) for reference in (options.student, *taught)):
        raise UsageError(f"--output {output} is one of the networks that are read; give another name")


def distillation_rule(config: TrainConfig, epochs: int, rate: float, seed: int) -> TrainConfig:
    """Return how a network that was trained by a configuration is trained further: at a rate that falls all the way.

    Raises:
        UsageError: The network has not seen what is no digit, or has no mean of weights.
        ValueError: A number is out of range.
    """
    if not config.nondigits or config.weight_average is None:
        raise UsageError("the network to begin with has to be trained with --nondigits and --weight-average")
    falling: dict[str, Any] = {
        "schedule": "trapezoid",
        "warmup": 0.02,
        "cooldown": 0.95,
        "step_epochs": None,
        "step_factor": None,
    }
    return replace(config, epochs=epochs, steps=None, learning_rate=rate, seed=seed, **falling)


def _record(
    before: TrainingRecord, options: argparse.Namespace, done: EpochLoss, elapsed_s: float, found: Metrics
) -> TrainingRecord:
    distillation = Distillation(
        source=options.student,
        teachers=shlex.join(options.teacher),
        experts=shlex.join(options.expert),
        epoch=done.epoch,
        epochs=options.epochs,
        steps=done.step,
        elapsed_s=elapsed_s,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    return replace(
        before,
        validation_loss=found.loss,
        validation_accuracy=found.accuracy,
        digitnet=__version__,
        torch=torch.__version__,
        adaptation=None,
        distillation=distillation,
    )


if __name__ == "__main__":
    sys.exit(main())
