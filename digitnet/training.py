"""One whole run: from a configuration and digits to a run folder with checkpoints. The loop is in ``engine.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from digitnet import __version__
from digitnet.calibration import fit_calibration
from digitnet.checkpoint import TrainingRecord, save_checkpoint
from digitnet.config import RunConfig
from digitnet.data.digits import Digits
from digitnet.data.load import add_strokes, load_nondigits
from digitnet.device import choose_device, choose_precision, derive_seed
from digitnet.engine import EpochResult, Result, fit
from digitnet.errors import DigitnetError
from digitnet.models import DigitNet, build_model, place
from digitnet.runs import BEST, LAST, epoch_name, write_config, write_metrics


def train_run(
    config: RunConfig, train: Digits, validation: Digits, folder: Path, *, keep_epochs: bool = False
) -> Iterator[Result]:
    """Train a network by a configuration, saving after each epoch before its result is yielded.

    Args:
        config: The network and its training.
        train: Training digits, as ``load_training`` cut them.
        validation: The digits that the best epoch is chosen by.
        folder: The run folder, there and empty.
        keep_epochs: Keep each epoch's network, in a file of its own.

    Raises:
        UsageError: The device asked for is not there.
        DigitnetError: Training went wrong.
        OSError: A file could not be written.
    """
    device = choose_device(config.train.device)
    dtype = choose_precision(config.train.precision, device)
    model = place(new_model(config, train), device)
    write_config(folder, config)
    digits, others = add_strokes(train, config.train.extra_strokes), config.train.nondigits
    nondigits = load_nondigits(train, others).to(device) if others else None
    results = fit(model, digits.to(device), validation.to(device), config.train, dtype, nondigits)
    rows: list[dict[str, float]] = []
    for result in _out_of_memory_named(results):
        if isinstance(result, EpochResult):
            rows.append(_row(result))
            record = _record(result, train, validation, device, dtype)
            calibration = fit_calibration(result.logits.cpu(), validation.targets.cpu())
            names = [LAST, *[BEST] * result.best, *[epoch_name(result.epoch)] * keep_epochs]
            for name in names:
                save_checkpoint(folder / name, config, record, calibration, model)
            write_metrics(folder, rows)
        yield result


def _out_of_memory_named(results: Iterator[Result]) -> Iterator[Result]:
    try:
        yield from results
    except torch.OutOfMemoryError as error:
        raise DigitnetError("a batch does not fit in the device's memory; try a smaller --batch-size") from error


def new_model(config: RunConfig, train: Digits) -> DigitNet:
    """Build a network with random weights that follow from the seed, and normalisation from the training images."""
    torch.manual_seed(derive_seed(config.train.seed, 0, "weights"))
    model = build_model(config.model)
    model.set_normalisation(train.images)
    return model


def _record(
    result: EpochResult, train: Digits, validation: Digits, device: torch.device, dtype: torch.dtype
) -> TrainingRecord:
    return TrainingRecord(
        dataset=train.name,
        fingerprint=train.fingerprint,
        train_size=len(train),
        validation_size=len(validation),
        split_hash=train.split_hash or "",
        epoch=result.epoch,
        step=result.step,
        validation_loss=result.validation.loss,
        validation_accuracy=result.validation.accuracy,
        elapsed_s=result.elapsed_s,
        device=device.type,
        precision="bf16" if dtype == torch.bfloat16 else "fp32",
        digitnet=__version__,
        torch=torch.__version__,
    )


def _row(result: EpochResult) -> dict[str, float]:
    return {
        "epoch": result.epoch,
        "step": result.step,
        "learning_rate": result.learning_rate,
        "train_loss": result.train_loss,
        "train_accuracy": result.train_accuracy,
        "validation_loss": result.validation.loss,
        "validation_accuracy": result.validation.accuracy,
        "images_per_s": result.images_per_s,
        "elapsed_s": result.elapsed_s,
    }
